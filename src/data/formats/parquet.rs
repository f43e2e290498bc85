//! Parquet: written out as rows of JSON, one a line, so that any row of it is at hand as those of any other file are.
//! Deliberately not here: where the lines go (`unpack`), and columns one by one.

use super::{Format, Layout, Rows, jsonl};
use crate::data::DataError;
use crate::data::table::LONGEST_ROW;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Number, Value};
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Writes all rows of a file as lines; `false` from the receiver ends it early.
pub type WriteOut = fn(&Path, &mut dyn FnMut(&[u8]) -> Result<bool, DataError>) -> Result<(), DataError>;

pub const FORMAT: Format = Format {
    name: "parquet",
    extensions: &["parquet", "pq"],
    documents: jsonl::FORMAT.documents,
    cut: jsonl::FORMAT.cut,
    rows: Rows { layout: |_, _| Layout::rows_of(0, "row"), ..jsonl::FORMAT.rows },
    written_out: Some(write_out),
};

/// Lines are handed on when they are this much together.
const CHUNK_BYTES: usize = 256 << 10;
/// Rows of a column that are decoded at a time.
const DECODED: usize = 1024;

fn write_out(path: &Path, push: &mut dyn FnMut(&[u8]) -> Result<bool, DataError>) -> Result<(), DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
    // The reader panics on some files that are damaged: that is the file's fault and nobody else's.
    let mut outcome = Ok(());
    let read = catch_unwind(AssertUnwindSafe(|| rows(file, path, push, &mut outcome)));
    match read {
        Ok(Ok(())) => outcome,
        Ok(Err(what)) => Err(damaged(path, &what)),
        Err(_) => Err(damaged(path, "its pages do not fit its description")),
    }
}

fn damaged(path: &Path, what: &str) -> DataError {
    let what: String = what.chars().take(200).collect();
    DataError::file(path, format!("not a whole Parquet file: {}", crate::data::visible(&what)), "fetch the file again")
}

fn rows(
    file: File,
    path: &Path,
    push: &mut dyn FnMut(&[u8]) -> Result<bool, DataError>,
    outcome: &mut Result<(), DataError>,
) -> Result<(), String> {
    let reader = SerializedFileReader::new(file).map_err(|e| e.to_string())?;
    let mut lines = Vec::with_capacity(CHUNK_BYTES * 2);
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index).map_err(|e| e.to_string())?;
        let expected = group.metadata().num_rows();
        let (kept, too_large) = columns(group.metadata());
        let mut found = 0;
        let known: Box<dyn Iterator<Item = Result<Row, _>>> = match kept {
            Some(kept) => Box::new(RowIter::from_row_group(kept, &*group).map_err(|e| e.to_string())?.with_batch_size(DECODED)),
            None => Box::new((0..expected).map(|_| Ok(Row::new(Vec::new())))),
        };
        for row in known {
            let row = row.map_err(|e: parquet::errors::ParquetError| e.to_string())?;
            found += 1;
            let mut row = object(&row);
            if let Value::Object(map) = &mut row {
                map.extend(too_large.iter().map(|(name, text)| (name.clone(), Value::String(text.clone()))));
            }
            serde_json::to_writer(&mut lines, &row).map_err(|e| e.to_string())?;
            lines.push(b'\n');
            if lines.len() >= CHUNK_BYTES {
                match push(&lines) {
                    Ok(true) => lines.clear(),
                    Ok(false) => return Ok(()),
                    Err(e) => {
                        *outcome = Err(e);
                        return Ok(());
                    }
                }
            }
        }
        if found != expected {
            let name = crate::data::shown(path);
            return Err(format!("{name}: part {index} holds {found} rows where its description says {expected}"));
        }
    }
    *outcome = push(&lines).map(drop);
    let _ = lines.flush();
    Ok(())
}

/// The columns to read (all where that is none within), and those whose values are too large to, each with what stands in
/// their place. Nothing at all where no column is left.
fn columns(group: &RowGroupMetaData) -> (Option<Option<Type>>, Vec<(String, String)>) {
    let mut too_large: Vec<(String, String)> = Vec::new();
    for column in group.columns() {
        let bytes = column.uncompressed_size().max(0) as u64;
        let name = column.column_path().parts().first().cloned().unwrap_or_default();
        if bytes / column.num_values().max(1) as u64 > LONGEST_ROW && too_large.iter().all(|(n, _)| *n != name) {
            too_large.push((name, format!("[{} bytes in this column: too large to show]", crate::data::thousands(bytes))));
        }
    }
    if too_large.is_empty() {
        return (Some(None), too_large);
    }
    let root = group.schema_descr().root_schema();
    let fields: Vec<Arc<Type>> = root.get_fields().iter().filter(|f| too_large.iter().all(|(n, _)| n != f.name())).cloned().collect();
    let kept = (!fields.is_empty()).then(|| Type::group_type_builder(root.name()).with_fields(fields).build().ok()).flatten();
    (kept.map(Some), too_large)
}

fn object(row: &Row) -> Value {
    Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect())
}

/// A field as JSON. Numbers that JSON has no way to write are strings: `NaN`, `inf`, `-inf`.
fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(v) => Value::Bool(*v),
        Field::Byte(v) => (*v).into(),
        Field::Short(v) => (*v).into(),
        Field::Int(v) => (*v).into(),
        Field::Long(v) => (*v).into(),
        Field::UByte(v) => (*v).into(),
        Field::UShort(v) => (*v).into(),
        Field::UInt(v) => (*v).into(),
        Field::ULong(v) => (*v).into(),
        Field::Float16(v) => float(f64::from(f32::from(*v))),
        // The shortest text that reads back as the same f32, and not the digits of its f64.
        Field::Float(v) => v.to_string().parse().map_or_else(|_| float(f64::from(*v)), float),
        Field::Double(v) => float(*v),
        Field::Str(text) => Value::String(text.clone()),
        Field::Bytes(bytes) => Value::String(match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.data().iter().map(|b| format!("{b:02x}")).collect(),
        }),
        Field::Date(days) => Value::String(day(i64::from(*days))),
        Field::TimeMillis(ms) => Value::String(time(i64::from(*ms) * 1000)),
        Field::TimeMicros(us) => Value::String(time(*us)),
        Field::TimestampMillis(ms) => Value::String(moment(ms.saturating_mul(1000))),
        Field::TimestampMicros(us) => Value::String(moment(*us)),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(value).collect()),
        Field::MapInternal(map) => {
            let entries = map.entries().iter().map(|(key, v)| {
                let key = match value(key) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                (key, value(v))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        other => Value::String(other.to_string()),
    }
}

fn float(v: f64) -> Value {
    Number::from_f64(v).map_or_else(|| Value::String(v.to_string()), Value::Number)
}

/// Days since 1970-01-01 as a date of the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn day(days: i64) -> String {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", doy - (153 * mp + 2) / 5 + 1)
}

fn time(us: i64) -> String {
    let (s, rest) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let clock = format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    if rest == 0 { clock } else { format!("{clock}.{rest:06}") }
}

fn moment(us: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    format!("{} {}", day(us.div_euclid(DAY)), time(us.rem_euclid(DAY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!([day(0), day(-1), day(11_016), day(20_454)], ["1970-01-01", "1969-12-31", "2000-02-29", "2026-01-01"]);
        assert_eq!(moment(1_230_768_060_000_000), "2009-01-01 00:01:00");
        assert_eq!(moment(-1), "1969-12-31 23:59:59.999999");
        assert_eq!((float(f64::NAN), value(&Field::Float(0.1))), (Value::String("NaN".into()), serde_json::json!(0.1)));
    }
}
