//! Digests of text, in lower-case hexadecimal.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::expression::function::Parameter::{Text, Whole};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::tree::EvaluationError;
use crate::value::Value;

type Called = Result<Value, EvaluationError>;

pub(super) static FUNCTIONS: &[Function] = &[
    function("MD5", &[Text], Outcome::Text, digest::<Md5>),
    function("SHA1", &[Text], Outcome::Text, digest::<Sha1>),
    function("SHA224", &[Text], Outcome::Text, digest::<Sha224>),
    function("SHA256", &[Text], Outcome::Text, digest::<Sha256>),
    function("SHA384", &[Text], Outcome::Text, digest::<Sha384>),
    function("SHA512", &[Text], Outcome::Text, digest::<Sha512>),
    function("SHA2", &[Text, Whole], Outcome::Text, sha2),
];

/// The digest of the first argument's UTF-8.
fn digest<D: Digest>(arguments: &[Value]) -> Called {
    let Some(Value::Text(text)) = arguments.first() else { return Ok(Value::Null) };
    let digits = D::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let digits: String = digits;
    Ok(Value::text(&digits))
}

/// `SHA2(text, bits)`.
fn sha2(arguments: &[Value]) -> Called {
    match arguments.get(1) {
        Some(Value::Integer(224)) => digest::<Sha224>(arguments),
        Some(Value::Integer(256)) => digest::<Sha256>(arguments),
        Some(Value::Integer(384)) => digest::<Sha384>(arguments),
        Some(Value::Integer(512)) => digest::<Sha512>(arguments),
        _ => Err(EvaluationError::Argument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1321 and FIPS 180: digests of `abc`.
    #[test]
    fn digests_are_those_of_their_standards() {
        let abc = [Value::text("abc")];

        assert_eq!(digest::<Md5>(&abc), Ok(Value::text("900150983cd24fb0d6963f7d28e17f72")));
        assert_eq!(
            digest::<Sha1>(&abc),
            Ok(Value::text("a9993e364706816aba3e25717850c26c9cd0d89d"))
        );
        let bits = [Value::text("abc"), Value::Integer(256)];
        assert_eq!(sha2(&bits), digest::<Sha256>(&abc));
        assert_eq!(sha2(&[Value::text("abc"), Value::Integer(1)]), Err(EvaluationError::Argument));
    }
}
