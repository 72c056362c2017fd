//! Sizes and rates as people write them: `24GB`, `512MiB`, `100Mbit`. What configuration files, flags and
//! tables of plans share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];
const RATES: [(&str, u64); 4] = [("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

/// Bits in a second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate(pub u64);

impl BitRate {
    /// Whole bytes in a second.
    #[must_use]
    pub fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

impl FromStr for ByteSize {
    type Err = String;

    /// Reads `24GB` (10^9 bytes), `24GiB` (2^30), `1.5 MB`.
    fn from_str(text: &str) -> Result<Self, String> {
        in_units(text, &SIZES).map(Self)
    }
}

impl FromStr for BitRate {
    type Err = String;

    /// Reads `100Mbit`, `1.5 Gbit`; all a second.
    fn from_str(text: &str) -> Result<Self, String> {
        in_units(text, &RATES).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&largest_unit(self.0, &SIZES))
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&largest_unit(self.0, &RATES))
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for BitRate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl From<BitRate> for String {
    fn from(rate: BitRate) -> Self {
        rate.to_string()
    }
}

/// A number above zero with one of the units; fractions are rounded down to whole ones of the smallest.
fn in_units(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let known = || units.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ");
    // The last unit is the end of all others, and stands last.
    let found = units.iter().find_map(|(unit, size)| Some((text.trim().strip_suffix(unit)?, *size)));
    let (number, size) =
        found.ok_or_else(|| format!("{text:?}: expected a number with one of {}", known()))?;
    let number = number.trim();
    match number.parse::<f64>() {
        // Below 2^63, so that the product is a whole number of its type.
        Ok(value) if value > 0.0 && value * size as f64 >= 1.0 && value * (size as f64) < 9.2e18 => {
            Ok((value * size as f64) as u64)
        }
        _ => Err(format!("{number:?} is not a number above zero, or too large")),
    }
}

/// The value in the largest unit of which it is a whole number.
fn largest_unit(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().filter(|(_, size)| value.is_multiple_of(*size));
    let (unit, size) = fits.max_by_key(|(_, size)| *size).copied().unwrap_or(("", 1));
    format!("{}{unit}", value / size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_rates_are_read() {
        assert_eq!("24GB".parse(), Ok(ByteSize(24_000_000_000)));
        assert_eq!("24GiB".parse(), Ok(ByteSize(24 << 30)));
        assert_eq!("1.5 MB".parse(), Ok(ByteSize(1_500_000)));
        assert_eq!("100Mbit".parse(), Ok(BitRate(100_000_000)));
        assert_eq!("1.5 Gbit".parse::<BitRate>().map(BitRate::bytes_per_second), Ok(187_500_000));
        for wrong in ["24", "GB", "-1GB", "infGB", "NaNGB", "0GB", "1TB", "1e30GB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
        assert!("100MB".parse::<BitRate>().unwrap_err().contains("Mbit"));
    }

    #[test]
    fn what_is_shown_is_short() {
        assert_eq!(ByteSize(4 << 30).to_string(), "4GiB");
        assert_eq!(ByteSize(4_000_000_000).to_string(), "4GB");
        assert_eq!(ByteSize(1_001).to_string(), "1001B");
        assert_eq!(BitRate(2_500_000).to_string(), "2500kbit");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(value in 1u64..1 << 52) {
            prop_assert_eq!(ByteSize(value).to_string().parse(), Ok(ByteSize(value)));
            prop_assert_eq!(BitRate(value).to_string().parse(), Ok(BitRate(value)));
        }
    }
}
