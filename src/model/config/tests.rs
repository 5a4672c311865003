//! Tests of configurations as they are read and written.

use super::*;

fn error(json: &str) -> String {
    Config::from_json(json).unwrap_err().to_string()
}

#[test]
fn an_empty_configuration_is_all_defaults() {
    assert_eq!(Config::from_json("{}").unwrap(), Config::default());
    let other = r#"{"_diffusers_version": "0.1", "something": [1], "shift_factor": null}"#;
    assert_eq!(Config::from_json(other).unwrap(), Config::default());
}

#[test]
fn every_field_is_read_and_written() {
    let json = r#"{"_class_name": "AutoencoderKL", "in_channels": 1, "out_channels": 2,
        "down_block_types": ["UNetResDownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        "up_block_types": ["UNetResAttnUpDecoderBlock2D", "UpDecoderBlock2D"],
        "block_out_channels": [8, 24], "layers_per_block": 3, "act_fn": "GELU",
        "latent_channels": 2, "norm_num_groups": 4, "sample_size": [64, 32],
        "scaling_factor": 0.5, "shift_factor": 0.25, "latents_mean": [1, 2],
        "latents_std": [3, 4.5], "force_upcast": false, "use_quant_conv": false,
        "use_post_quant_conv": false, "mid_block_add_attention": false}"#;
    let expected = Config {
        family: Family::Kl(KlConfig {
            down_attention: vec![false, true],
            up_attention: vec![true, false],
            block_out_channels: vec![8, 24],
            decoder_block_out_channels: None,
            layers_per_block: 3,
            decoder_layers_per_block: None,
            act_fn: Activation::Gelu,
            norm_num_groups: 4,
            use_quant_conv: false,
            use_post_quant_conv: false,
            mid_block_add_attention: false,
        }),
        in_channels: 1,
        out_channels: 2,
        latent_channels: 2,
        sample_size: (64, 32),
        scaling_factor: 0.5,
        shift_factor: Some(0.25),
        latents_mean: Some(vec![1.0, 2.0]),
        latents_std: Some(vec![3.0, 4.5]),
        force_upcast: false,
    };
    let config = Config::from_json(json).unwrap();
    assert_eq!(config, expected);
    assert_eq!(Config::from_json(&config.to_json()).unwrap(), expected);
    assert_eq!(config.downscale(), 2);
}

#[test]
fn wrong_fields_are_named_with_expected_and_found() {
    for (json, parts) in [
        (r#"{"in_channels": "3"}"#, ["in_channels", "whole number", "\"3\""]),
        (r#"{"in_channels": 0}"#, ["in_channels", "1 to", "0 found"]),
        (r#"{"latent_channels": -4}"#, ["latent_channels", "whole number", "-4"]),
        (r#"{"block_out_channels": [48]}"#, ["block_out_channels", "(32)", "48 found"]),
        (r#"{"block_out_channels": [64, 64]}"#, ["down_block_types", "2 entries", "1 found"]),
        (
            r#"{"down_block_types": ["CrossAttn"]}"#,
            ["down_block_types", "DownEncoderBlock2D", "Cross"],
        ),
        (r#"{"act_fn": "tanh"}"#, ["act_fn", "silu", "tanh"]),
        (r#"{"latents_mean": [1], "latents_std": [1]}"#, ["latents_mean", "4 numbers", "1 found"]),
        (r#"{"latents_mean": [1, 1, 1, 1]}"#, ["latents_std", "both", "neither"]),
        (r#"{"scaling_factor": 0}"#, ["scaling_factor", "other than 0", "0 found"]),
        (r#"{"norm_num_groups": 0}"#, ["norm_num_groups", "1 to", "0 found"]),
        (r#"{"layers_per_block": 100000}"#, ["layers_per_block", "1 to 64", "100000"]),
        (r#"{"force_upcast": 1}"#, ["force_upcast", "true or false", "1 found"]),
        (r#"{"_class_name": "VQModel"}"#, ["_class_name", "AutoencoderKL", "VQModel"]),
        (r#"[1]"#, ["object", "", ""]),
        (r#"{"in_channels": "#, ["not valid JSON", "", ""]),
    ] {
        let message = error(json);
        for part in parts {
            assert!(message.contains(part), "{json}: {message}");
        }
    }
}

#[test]
fn what_the_flax_class_ignores_is_left_out() {
    let found = Config::from_json(
        r#"{"_class_name": "FlaxAutoencoderKL", "act_fn": "no such thing", "shift_factor": 1,
        "down_block_types": ["AttnDownEncoderBlock2D", 1], "block_out_channels": [8, 16],
        "up_block_types": ["AttnUpDecoderBlock2D", "x"], "norm_num_groups": 4,
        "latents_mean": [1], "latents_std": "none", "use_quant_conv": false,
        "use_post_quant_conv": false, "mid_block_add_attention": false}"#,
    );
    let expected = Config::from_json(
        r#"{"down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "block_out_channels": [8, 16], "norm_num_groups": 4,
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#,
    );
    assert_eq!(found.unwrap(), expected.unwrap());
}

#[test]
fn the_last_of_two_fields_counts_and_escapes_are_read() {
    let config = Config::from_json(
        r#"{"in_channels": "no", "\u0069n_channels": 2, "act_fn": "\u0067ELU",
        "sample_size": [64, 32] , "x": [[{"y": [null]}]], "scaling_factor": 1e-1}"#,
    )
    .unwrap();
    assert_eq!((config.in_channels, config.sample_size), (2, (64, 32)));
    assert_eq!(config.family.kl().unwrap().act_fn, Activation::Gelu);
    assert_eq!(config.scaling_factor, 0.1);
}

#[test]
fn configurations_have_limits() {
    let long = |field: &str, item: &str, count: usize| {
        format!("{{\"{field}\": [{}]}}", vec![item; count].join(","))
    };
    Config::from_json(&long("x", "[[0]]", 100_000)).unwrap();
    for (text, part) in [
        (long("x", "[[0]]", 200_000), "at most 1048576 bytes expected, 1200008 found"),
        (long("latents_mean", "1", 65_537), "latents_mean: at most 65536 entries expected"),
        (long("block_out_channels", "1", 65_537), "block_out_channels: at most 65536 entries"),
        (format!("{{\"x\": {}0{}}}", "[".repeat(129), "]".repeat(129)), "128 levels"),
        (format!("{{\"act_fn\": \"{}\"}}", "a".repeat(1 << 19)), "aaa... found"),
        (format!("{{\"_class_name\": \"{}\"}}", "a".repeat(1 << 19)), "aaa... found"),
        (r#"{"scaling_factor": 1e999}"#.into(), "a number expected, 1e999 found"),
        (r#"{"in_channels": 3.0}"#.into(), "a whole number expected, 3.0 found"),
    ] {
        let message = error(&text);
        assert!(message.contains(part) && message.len() < 200, "{part}: {message}");
    }
    let many: String = (0..4097).map(|i| format!("\"{i}\": 0,")).collect();
    let error = Config::from_json(&format!("{{{many}\"z\": 0}}")).unwrap_err();
    assert_eq!(error.message(), "more than 4096 fields");
}
