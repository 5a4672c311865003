//! Where the time of a decode (or an encode) goes: each operator, with its rate in multiplications
//! that were really done and the share of the peak of fused multiply-adds in the same process.
//!
//!     cargo bench --features bench --bench decode -- MODEL [--encode] [--size 64] [--threads 2]
//!         [--all]
//!
//! Operators of one kind and shape are summed; `--all` lists each. Size is that of the input, in
//! latents or in pixels. Times are the median of three runs.

use std::collections::BTreeMap;

use vaekl::bench::{Operator, operators, peak};
use vaekl::{Level, Model, SessionOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut model, mut encode, mut all) = (None, false, false);
    let (mut size, mut options) = (None, SessionOptions::default());
    while let Some(argument) = arguments.next() {
        let mut number = || {
            arguments
                .next()
                .ok_or("a number is missing")?
                .parse::<usize>()
                .map_err(|error| -> Box<dyn std::error::Error> { error.into() })
        };
        match argument.as_str() {
            "--encode" => encode = true,
            "--all" => all = true,
            "--size" => size = Some(number()?),
            "--threads" => options.threads = number()?,
            _ => model = Some(Model::open(&argument)?),
        }
    }
    let model = model.ok_or("MODEL is missing")?;
    let size = size.unwrap_or(if encode { 512 } else { 64 });
    let threads = if options.threads == 0 { 2 } else { options.threads };
    options.threads = threads;
    let level = Level::detect()?;

    let before = peak(level, threads);
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(operators(&model, &options, encode, size, size)?);
    }
    let after = peak(level, threads);
    let total = |run: &Vec<Operator>| run.iter().map(|o| o.seconds).sum::<f64>();
    runs.sort_by(|a, b| total(a).total_cmp(&total(b)));
    let run = &runs[1];

    let mut lines: BTreeMap<(usize, String), Vec<&Operator>> = BTreeMap::new();
    let mut order = Vec::new();
    for operator in run {
        let key = if all {
            format!("{} {} {}", operator.name, operator.shape, operator.method)
        } else {
            format!("{} {}", operator.shape, operator.method)
        };
        let at = order.iter().position(|known| *known == key).unwrap_or_else(|| {
            order.push(key.clone());
            order.len() - 1
        });
        lines.entry((at, key)).or_default().push(operator);
    }
    let peak = before.min(after);
    println!("{level}, {threads} threads, peak {before:.0} and {after:.0} GFLOP/s");
    println!("{:<72} {:>3} {:>8} {:>10} {:>6} {:>6}", "", "n", "ms", "direct", "true", "peak");
    for ((_, key), operators) in lines {
        print_line(&key, &operators, peak);
    }
    let everything: Vec<&Operator> = run.iter().collect();
    let winograd: Vec<&Operator> = run.iter().filter(|o| o.method.starts_with('F')).collect();
    print_line("Winograd", &winograd, peak);
    print_line("all", &everything, peak);
    Ok(())
}

fn print_line(key: &str, operators: &[&Operator], peak: f64) {
    let seconds: f64 = operators.iter().map(|o| o.seconds).sum();
    let rate = |work: fn(&Operator) -> u64| {
        2.0 * operators.iter().map(|o| work(o) as f64).sum::<f64>() / seconds / 1e9
    };
    let (direct, done) = (rate(|o| o.direct), rate(|o| o.done));
    println!(
        "{key:<72} {:>3} {:>8.1} {direct:>10.0} {done:>6.0} {:>5.0}%",
        operators.len(),
        seconds * 1e3,
        done / peak * 100.0
    );
}
