//! The time that a template is told, and its strftime.
//! Deliberately not here: reading a clock; whoever renders says what time it is.

/// A moment of the calendar. `Default` is the first second of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

impl Default for Moment {
    fn default() -> Self {
        Self::utc(0)
    }
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// Longer formats are no dates.
const MAX_FORMAT: usize = 1024;

impl Moment {
    /// The moment `seconds` after 1970 began, in universal time.
    pub fn utc(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
        // Days to date by eras of 400 years, from H. Hinnant, "chrono-compatible low-level date algorithms".
        let z = days + 719_468;
        let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u32,
            day: (of_year - (153 * shifted + 2) / 5 + 1) as u32,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Days since 1970 began.
    fn days(&self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let month = i64::from(self.month);
        let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// As Python's `strftime`, in the C locale; what it does not know stands as it is.
    pub fn strftime(&self, format: &str) -> String {
        let (month, weekday) = (MONTHS[(self.month as usize + 11) % 12], DAYS[(self.days() + 4).rem_euclid(7) as usize]);
        let day_of_year = self.days() - Self { month: 1, day: 1, ..*self }.days() + 1;
        let twelve = (self.hour + 11) % 12 + 1;
        let mut out = String::new();
        let format: String = format.chars().take(MAX_FORMAT).collect();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut code = chars.next();
            let bare = code == Some('-');
            if bare {
                code = chars.next();
            }
            let number = |n: i64, width: usize| if bare { n.to_string() } else { format!("{n:0width$}") };
            let text = match code {
                Some('Y') => self.year.to_string(),
                Some('y') => number(self.year.rem_euclid(100), 2),
                Some('m') => number(i64::from(self.month), 2),
                Some('d') => number(i64::from(self.day), 2),
                Some('e') => format!("{:2}", self.day),
                Some('j') => number(day_of_year, 3),
                Some('H') => number(i64::from(self.hour), 2),
                Some('I') => number(i64::from(twelve), 2),
                Some('M') => number(i64::from(self.minute), 2),
                Some('S') => number(i64::from(self.second), 2),
                Some('f') => "000000".into(),
                Some('p') => if self.hour < 12 { "AM" } else { "PM" }.into(),
                Some('B') => month.into(),
                Some('b' | 'h') => month[..3].into(),
                Some('A') => weekday.into(),
                Some('a') => weekday[..3].into(),
                Some('w') => (self.days() + 4).rem_euclid(7).to_string(),
                Some('u') => ((self.days() + 3).rem_euclid(7) + 1).to_string(),
                Some('F') => self.strftime("%Y-%m-%d"),
                Some('T' | 'X') => self.strftime("%H:%M:%S"),
                Some('R') => self.strftime("%H:%M"),
                Some('D' | 'x') => self.strftime("%m/%d/%y"),
                Some('c') => self.strftime("%a %b %e %H:%M:%S %Y"),
                Some('n') => "\n".into(),
                Some('t') => "\t".into(),
                Some('z' | 'Z') => String::new(), // a moment without a zone, as Python's naive datetime
                Some('%') => "%".into(),
                Some(other) => format!("%{}{other}", if bare { "-" } else { "" }),
                None => "%".into(),
            };
            out.push_str(&text);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_as_pythons() {
        // datetime.fromtimestamp(1721995200, UTC) and its strftime.
        let moment = Moment::utc(1_721_995_200);
        assert_eq!(
            moment.strftime("%d %b %Y|%B %-d|%A %a|%I:%M:%S %p|%j|%F %T|%y|%%|%Q"),
            "26 Jul 2024|July 26|Friday Fri|12:00:00 PM|208|2024-07-26 12:00:00|24|%|%Q"
        );
        assert_eq!(Moment::utc(951_782_400).strftime("%F %j %w"), "2000-02-29 060 2");
        assert_eq!(Moment::utc(-1).strftime("%c"), "Wed Dec 31 23:59:59 1969");
        assert_eq!(Moment::utc(0).strftime("%e/%"), " 1/%");
        for day in (-800_000..800_000).step_by(97) {
            assert_eq!(Moment::utc(day * 86_400).days(), day);
        }
    }
}
