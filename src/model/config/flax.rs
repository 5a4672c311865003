#![forbid(unsafe_code)]
//! The configuration of diffusers' `FlaxAutoencoderKL`, as one of `AutoencoderKL`.

use serde_json::{Map, Value};

/// The fields that diffusers' `FlaxAutoencoderKL` reads. Those it ignores take the values that it
/// computes with: silu, no attention in a level, all 1x1 convolutions. Blocks still count.
pub(super) fn fields(object: &Map<String, Value>) -> Map<String, Value> {
    const IGNORED: [&str; 7] = [
        "act_fn",
        "shift_factor",
        "latents_mean",
        "latents_std",
        "use_quant_conv",
        "use_post_quant_conv",
        "mid_block_add_attention",
    ];
    let read = object.iter().filter(|(field, _)| !IGNORED.contains(&field.as_str()));
    let mut fields: Map<String, Value> =
        read.map(|(field, value)| (field.clone(), value.clone())).collect();
    for (field, plain) in
        [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")]
    {
        if let Some(Value::Array(blocks)) = fields.get_mut(field) {
            blocks.fill(plain.into());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_class_ignores_is_left_out() {
        let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let found = read(
            r#"{"act_fn": "no such thing", "down_block_types": ["AttnDownEncoderBlock2D", 1],
            "up_block_types": ["AttnUpDecoderBlock2D"], "norm_num_groups": 4, "shift_factor": 1,
            "latents_mean": [1], "latents_std": "none", "use_quant_conv": false,
            "use_post_quant_conv": false, "mid_block_add_attention": false}"#,
        );
        let expected = read(
            r#"{"down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D"], "norm_num_groups": 4}"#,
        );
        assert_eq!(fields(&found), expected);
    }
}
