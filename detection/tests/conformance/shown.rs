//! Values as Flink's rows show them: Java's `toString` of the external types.

use headland_detection::Value;

/// A value as text.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Double(number) => {
            java(&format!("{number:e}"), number.is_finite(), &format!("{number}"))
        }
        Value::Float(number) => {
            java(&format!("{number:e}"), number.is_finite(), &format!("{number}"))
        }
        Value::Timestamp(_) => timestamp(&value.to_string()),
        Value::Time(millis) if millis % 60_000 == 0 => {
            value.to_string().trim_end_matches(":00").to_owned()
        }
        Value::Array(values) => {
            let texts: Vec<_> = values.iter().map(self::value).collect();
            format!("[{}]", texts.join(", "))
        }
        Value::Map(entries) => {
            let texts: Vec<_> = entries
                .iter()
                .map(|(key, one)| format!("{}={}", self::value(key), self::value(one)))
                .collect();
            format!("{{{}}}", texts.join(", "))
        }
        other => other.to_string(),
    }
}

/// `LocalDateTime.toString`: no zone, and no seconds when they are 0.
fn timestamp(text: &str) -> String {
    let text = text.trim_end_matches('Z');
    text.strip_suffix(":00").filter(|rest| rest.len() == 16).unwrap_or(text).to_owned()
}

/// `Double.toString`: an exponent below 10^-3 and from 10^7 on.
fn java(scientific: &str, is_finite: bool, plain: &str) -> String {
    if !is_finite {
        return plain.replace("inf", "Infinity");
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let with_point = |text: &str| {
        if text.contains('.') { text.to_owned() } else { format!("{text}.0") }
    };
    if (-3..7).contains(&exponent) || mantissa.trim_start_matches('-') == "0" {
        with_point(plain)
    } else {
        format!("{}E{exponent}", with_point(mantissa))
    }
}
