//! Numbers for people: short enough for a column, always with their unit, never wider than stated.

/// What stands where there is no value.
pub const NONE: &str = "-";

/// Three significant digits and a unit that fits the size; at most 6 columns.
pub fn duration_us(us: u64) -> String {
    let us_f = us as f64;
    if us < 1_000 {
        format!("{us}µs")
    } else if us < 999_500 {
        format!("{}ms", significant(us_f / 1e3))
    } else if us < 60_000_000 {
        format!("{}s", significant(us_f / 1e6))
    } else {
        long_duration(us / 1_000_000)
    }
}

fn long_duration(s: u64) -> String {
    let (minutes, hours, days) = (s / 60, s / 3_600, s / 86_400);
    if hours == 0 {
        format!("{minutes}m{:02}s", s % 60)
    } else if days == 0 {
        format!("{hours}h{:02}m", minutes % 60)
    } else if days < 100 {
        format!("{days}d{:02}h", hours % 24)
    } else if days <= 9_999 {
        format!("{days}d")
    } else {
        ">9999d".into()
    }
}

/// Whole seconds, for how long something has lasted: `40 s`, `3m05s`.
pub fn age_us(us: u64) -> String {
    let s = us / 1_000_000;
    if s < 60 { format!("{s} s") } else { long_duration(s) }
}

/// A time scale: `30 s`, `15 min`.
pub fn span_us(us: u64) -> String {
    match us / 1_000_000 {
        s if s < 60 => format!("{s} s"),
        s => format!("{} min", s / 60),
    }
}

/// A number per second or any other measure: three significant digits, `k`/`M`/`G` beyond
/// thousands; at most 5 columns.
pub fn rate(value: f64) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    let value = value.max(0.0);
    if value < 0.05 {
        "0".into()
    } else if value < 9.95 {
        format!("{value:.1}")
    } else if value < 999.5 {
        format!("{value:.0}")
    } else if value < 999_500.0 {
        format!("{}k", significant(value / 1e3))
    } else if value < 999_500_000.0 {
        format!("{}M", significant(value / 1e6))
    } else {
        format!("{}G", significant((value / 1e9).min(999.0)))
    }
}

/// A count with thousands separators.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count in at most 4 columns.
pub fn short_count(value: u64) -> String {
    match value {
        0..10_000 => value.to_string(),
        10_000..1_000_000 => format!("{}k", value / 1_000),
        1_000_000..1_000_000_000 => format!("{}M", value / 1_000_000),
        _ => ">1G".into(),
    }
}

/// A share 0..=1 in at most 5 columns. Rounded down, so that `100%` means every single one.
pub fn share(value: Option<f64>) -> String {
    match value {
        Some(v) if v >= 1.0 => "100%".into(),
        Some(v) if v.is_finite() => format!("{:.1}%", (v.max(0.0) * 1e3).floor() / 10.0),
        _ => NONE.into(),
    }
}

/// Already a percentage, 0..=100 and beyond; at most 5 columns.
pub fn percent(value: f64) -> String {
    if value.is_finite() { format!("{:.0}%", value.clamp(0.0, 9_999.0)) } else { NONE.into() }
}

/// Three digits in at most 4 columns; a utility is never negative.
pub fn utility(value: Option<f64>) -> String {
    match value {
        Some(v) if v.is_finite() => significant(v.clamp(0.0, 999.0)),
        _ => NONE.into(),
    }
}

/// How many times as much: `1.02×`, `12×`; at most 5 columns.
pub fn times(value: f64) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    let value = value.clamp(0.0, 999.0);
    if value < 1.995 {
        format!("{value:.2}×")
    } else if value < 9.95 {
        format!("{value:.1}×")
    } else {
        format!("{value:.0}×")
    }
}

/// Any small number, also below zero: at most 5 columns and a sign.
pub fn signed(value: f64) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    match value.abs() {
        size if size < 0.000_05 => "0".into(),
        size if size < 0.01 => format!("{value:.0e}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        size if size < 99_999.5 => format!("{value:.0}"),
        _ => format!("{value:.0e}"),
    }
}

/// Binary multiples; at most 8 columns.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value < 1_024 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1_024.0;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1_024.0;
        unit += 1;
    }
    format!("{} {}", significant(scaled), UNITS[unit])
}

/// Time of day, UTC.
pub fn time_of_day(unix_ms: u64) -> String {
    let s = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// At most 4 columns for values below 1,000, without trailing precision nobody reads.
fn significant(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits_and_six_columns() {
        let cases = [
            (0, "0µs"),
            (999, "999µs"),
            (1_000, "1.00ms"),
            (9_999, "10.0ms"),
            (99_960, "100ms"),
            (312_400, "312ms"),
            (999_499, "999ms"),
            (999_500, "1.00s"),
            (59_949_000, "59.9s"),
            (60_000_000, "1m00s"),
            (245_000_000, "4m05s"),
            (11_220_000_000, "3h07m"),
            (1_047_600_000_000, "12d03h"),
        ];
        for (us, text) in cases {
            assert_eq!(duration_us(us), text);
        }
        for shift in 0..64 {
            let text = duration_us(u64::MAX >> shift);
            assert!(text.chars().count() <= 6, "{text}");
        }
    }

    #[test]
    fn rates_fit_five_columns_whatever_comes() {
        let cases = [
            (0.0, "0"),
            (3.24, "3.2"),
            (9.96, "10"),
            (142.0, "142"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (2.5e6, "2.50M"),
        ];
        for (value, text) in cases {
            assert_eq!(rate(value), text);
        }
        for value in [f64::NAN, f64::INFINITY, -5.0, 1e300, f64::MIN_POSITIVE] {
            assert!(rate(value).len() <= 5, "{value}");
        }
    }

    #[test]
    fn a_share_of_one_hundred_percent_is_never_a_rounding() {
        assert_eq!(share(Some(0.9999)), "99.9%");
        assert_eq!(share(Some(1.0)), "100%");
        assert_eq!(share(Some(f64::NAN)), NONE);
        assert_eq!(share(None), NONE);
    }

    #[test]
    fn counts_and_bytes_are_grouped_and_scaled() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(short_count(9_999), "9999");
        assert_eq!(short_count(123_456), "123k");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(412 << 20), "412 MiB");
        assert_eq!(bytes(1023 << 20), "1.00 GiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(time_of_day(86_399_999), "23:59:59");
        assert_eq!(age_us(40_000_000), "40 s");
        assert_eq!(age_us(185_000_000), "3m05s");
    }
}
