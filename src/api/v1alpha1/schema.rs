//! Pieces of schema that several kinds share.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// The schema of a duration as Go writes it, such as `24h` or `1h30m`: whole hours, minutes and seconds.
///
/// Narrower than Go's own (no fractions, no sub-second units, no sign), so that a typing error is found when the object
/// is written.
pub(super) struct GoDuration;

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 32, "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2 })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// The schema of a list of paths into an object, as `ModelKind` has them.
pub(super) struct ModelPaths;

impl JsonSchema for ModelPaths {
    fn schema_name() -> Cow<'static, str> {
        "ModelPaths".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        const NAME: &str = r"[A-Za-z0-9_-]+";
        let step = format!(r"(\*|{NAME}|\{{{NAME}(,{NAME})*\}})(\[\*\])*(\|yaml)?");
        json_schema!({ "type": "array", "minItems": 1, "maxItems": 32, "items": {
            "type": "string", "minLength": 1, "maxLength": 256, "pattern": format!(r"^{step}(\.{step})*$"),
        }})
    }

    fn inline_schema() -> bool {
        true
    }
}
