//! The frame around every page, and how numbers, hashes and times are written.
//!
//! maud escapes every text that is put in; nothing here writes raw markup.

use iota_protocol::emission::UNIT;
use maud::{html, Markup, DOCTYPE};

/// A whole page. `title` is plain text.
pub(super) fn page(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · IOTA explorer" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/style.css";
                script src="/assets/echarts.min.js" defer {}
                script src="/assets/app.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header {
                    nav aria-label="Main" {
                        a.brand href="/" { "IOTA" span { "explorer" } }
                        a href="/audit" { "Emission audit" }
                        a href="/api" { "API" }
                    }
                    form action="/search" role="search" {
                        label.quiet for="q" { "Search" }
                        input id="q" name="q" type="search" maxlength="100" placeholder="address, uid, block, epoch";
                        button { "Find" }
                    }
                }
                main id="main" tabindex="-1" { (body) }
                footer {
                    p { "Everything here is read from finalized blocks and checked where it can be. Loss is in nats per token." }
                    p #live aria-live="polite" { }
                }
            }
        }
    }
}

/// A table that scrolls sideways by itself where the screen is narrow.
pub(super) fn table(caption: &str, rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table { caption.quiet { (caption) } (rows) }
        }
    }
}

/// A number with its name, large.
pub(super) fn figure(name: &str, value: &Markup) -> Markup {
    html! { div.figure { dt { (name) } dd { (value) } } }
}

/// A chart that the script draws from an API address; what it says stands in a table beside it.
pub(super) fn chart(kind: &str, source: &str, label: &str) -> Markup {
    html! { div.chart data-chart=(kind) data-source=(source) role="img" aria-label=(label) {} }
}

/// An amount in tokens, with its exact number of smallest units as a title.
pub(super) fn tokens(units: &str) -> Markup {
    let Ok(amount) = units.parse::<u128>() else { return html! { (units) } };
    let (whole, rest) = (amount / UNIT, amount % UNIT);
    let text = format!("{}.{rest:09}", grouped(whole));
    let text = text.trim_end_matches('0').trim_end_matches('.');
    html! { span.num title=(format!("{units} smallest units")) { (text) } }
}

/// An amount in tokens to three digits, with its exact number of smallest units as a title.
pub(super) fn rounded(units: &str) -> Markup {
    let Ok(amount) = units.parse::<u128>() else { return html! { (units) } };
    let thousandths = amount / (UNIT / 1_000);
    let text = format!("{}.{:03}", grouped(thousandths / 1_000), thousandths % 1_000);
    html! { span.num title=(format!("{units} smallest units")) { (text) } }
}

/// A whole number with thin groups of three digits.
pub(super) fn grouped(number: impl ToString) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A hash or address, shortened, whole as a title.
pub(super) fn short(text: &str) -> Markup {
    let count = text.chars().count();
    if count <= 16 {
        return html! { code { (text) } };
    }
    let head: String = text.chars().take(8).collect();
    let tail: String = text.chars().skip(count - 6).collect();
    html! { code title=(text) { (head) "…" (tail) } }
}

/// A link to an account.
pub(super) fn account(address: &str) -> Markup {
    html! { a href=(format!("/account/{address}")) { (short(address)) } }
}

/// A link to a block.
pub(super) fn block(number: u32) -> Markup {
    html! { a href=(format!("/block/{number}")) { (number) } }
}

/// A value that may be absent.
pub(super) fn maybe<T>(value: Option<T>, show: impl FnOnce(T) -> Markup) -> Markup {
    value.map_or_else(|| html! { span.quiet title="not known" { "–" } }, show)
}

/// A loss or effect in nats.
pub(super) fn nats(value: f64) -> Markup {
    html! { span.num { (format!("{value:.3}")) } }
}

/// A time in UTC, from milliseconds since 1970.
pub(super) fn time(millis: i64) -> Markup {
    let text = utc(millis);
    html! { time datetime=(text.replace(' ', "T") + "Z") { (text) " UTC" } }
}

/// Days since 1970 to a date, by the calendar's cycle of 400 years.
fn utc(millis: i64) -> String {
    let seconds = millis.div_euclid(1_000);
    let (days, day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March put the leap day last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02}", day / 3_600, day / 60 % 60, day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit_and_nothing_more() {
        let text = |units: &str| tokens(units).into_string();
        assert!(text("1234567000000001").contains(">1,234,567.000000001<"));
        assert!(text("20000000000").contains(">20<"));
        assert!(text("0").contains(">0<"));
        let large = rounded("1110091866590842").into_string();
        assert!(large.contains(">1,110,091.866<") && large.contains("1110091866590842 smallest"), "{large}");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_399_000), "2000-02-28 23:59:59");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_767_225_600_000), "2026-01-01 00:00:00");
    }
}
