//! Days as dates, without a time zone and without a library.

/// A date of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Four digits.
    pub year: u64,
    /// From 1.
    pub month: u64,
    /// From 1.
    pub day: u64,
}

/// The date of a day counted from 1970-01-01. Years are counted from March, so that the leap day
/// comes last (H. Hinnant, "chrono-compatible low-level date algorithms").
pub fn date(days: u64) -> Date {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = (from_march + 2) % 12 + 1;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    Date { year: year_of_era + era * 400 + u64::from(month <= 2), month, day }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_new_years_are_where_they_belong() {
        for (days, expected) in
            [(0, (1970, 1, 1)), (19_782, (2024, 2, 29)), (20_088, (2024, 12, 31)), (11_016, (2000, 2, 29))]
        {
            let Date { year, month, day } = date(days);
            assert_eq!((year, month, day), expected);
        }
    }
}
