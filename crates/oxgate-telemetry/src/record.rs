//! One record per logged exchange, handed from a worker to the writer thread through a ring of bytes.
//!
//! The worker copies a few integers and short texts; formatting, escaping and I/O happen on the
//! reader's side. A full ring drops the record and counts it: traffic never waits for a log.

use crate::Reason;
use rtrb::{Consumer, Producer, RingBuffer, chunks::ChunkError};

/// The longest method, host, path or user agent kept; longer ones are cut and marked by the reader.
const MAX_TEXT: usize = 1024;

/// What the access log says about one exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// End of the exchange, microseconds since 1970.
    pub time_us: u64,
    /// From the request's head to the end of the exchange.
    pub duration_us: u64,
    /// From sending the request upstream to the first byte of its answer; 0 when none came.
    pub upstream_us: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// The status sent; 499 when the client went away before one was.
    pub status: u16,
    /// Attempts made at an upstream.
    pub attempts: u8,
    /// Why the gateway answered itself, or why the exchange ended early.
    pub reason: Option<Reason>,
    /// The client's address.
    pub client: &'a [u8],
    /// The request's id.
    pub request_id: &'a [u8],
    /// The method as sent.
    pub method: &'a [u8],
    /// Host as sent.
    pub host: &'a [u8],
    /// The path in its normal form, without the query.
    pub path: &'a [u8],
    /// The route's name; empty when none matched.
    pub route: &'a [u8],
    /// The upstream's name; empty when none was asked.
    pub upstream: &'a [u8],
    /// The endpoint's address; empty when none was asked.
    pub endpoint: &'a [u8],
    /// The client's User-Agent.
    pub user_agent: &'a [u8],
}

const NUMBERS: usize = 5 * 8 + 4;
const TEXTS: usize = 9;

/// The worker's end of the ring.
#[derive(Debug)]
pub struct LogWriter(Producer<u8>);

/// The writer thread's end of the ring.
#[derive(Debug)]
pub struct LogReader {
    ring: Consumer<u8>,
    record: Vec<u8>,
}

/// A ring that holds `bytes` bytes of records.
pub fn log_ring(bytes: usize) -> (LogWriter, LogReader) {
    let (writer, ring) = RingBuffer::new(bytes);
    (LogWriter(writer), LogReader { ring, record: Vec::new() })
}

impl LogWriter {
    /// Hands a record over; false when the ring is full.
    pub fn push(&mut self, record: &Record<'_>) -> bool {
        // One byte more than is shown tells that there was more.
        let texts = record.texts().map(|text| &text[..text.len().min(MAX_TEXT + 1)]);
        let size = NUMBERS + texts.iter().map(|text| 2 + text.len()).sum::<usize>();
        let chunk = match self.0.write_chunk(4 + size) {
            Ok(chunk) => chunk,
            Err(ChunkError::TooFewSlots(_)) => return false,
        };
        let mut chunk = Place { chunk, at: 0 };
        chunk.put(&(size as u32).to_le_bytes());
        for n in [record.time_us, record.duration_us, record.upstream_us, record.bytes_in, record.bytes_out] {
            chunk.put(&n.to_le_bytes());
        }
        chunk.put(&record.status.to_le_bytes());
        chunk.put(&[record.attempts, record.reason.map_or(u8::MAX, |reason| reason as u8)]);
        for text in texts {
            chunk.put(&(text.len() as u16).to_le_bytes());
            chunk.put(text);
        }
        chunk.chunk.commit_all();
        true
    }
}

struct Place<'a> {
    chunk: rtrb::chunks::WriteChunk<'a, u8>,
    at: usize,
}

impl Place<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (first, second) = self.chunk.as_mut_slices();
        let split = first.len().saturating_sub(self.at).min(bytes.len());
        let (head, tail) = bytes.split_at(split);
        if !head.is_empty() {
            first[self.at..self.at + split].copy_from_slice(head);
        }
        if !tail.is_empty() {
            let start = self.at + split - first.len();
            second[start..start + tail.len()].copy_from_slice(tail);
        }
        self.at += bytes.len();
    }
}

impl LogReader {
    /// The next record, if there is one.
    pub fn pop(&mut self) -> Option<Record<'_>> {
        let size = self.take(4).map(|b| b.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b)))?;
        self.take(size)?;
        Record::decode(&self.record)
    }

    fn take(&mut self, size: usize) -> Option<&[u8]> {
        let chunk = self.ring.read_chunk(size).ok()?;
        let (first, second) = chunk.as_slices();
        self.record.clear();
        self.record.extend_from_slice(first);
        self.record.extend_from_slice(second);
        chunk.commit_all();
        Some(&self.record)
    }
}

impl<'a> Record<'a> {
    fn texts(&self) -> [&'a [u8]; TEXTS] {
        [
            self.client,
            self.request_id,
            self.method,
            self.host,
            self.path,
            self.route,
            self.upstream,
            self.endpoint,
            self.user_agent,
        ]
    }

    fn decode(mut bytes: &'a [u8]) -> Option<Record<'a>> {
        let number = |bytes: &mut &'a [u8]| {
            let (n, rest) = bytes.split_first_chunk::<8>()?;
            *bytes = rest;
            Some(u64::from_le_bytes(*n))
        };
        let mut record = Record {
            time_us: number(&mut bytes)?,
            duration_us: number(&mut bytes)?,
            upstream_us: number(&mut bytes)?,
            bytes_in: number(&mut bytes)?,
            bytes_out: number(&mut bytes)?,
            ..Record::default()
        };
        let (small, mut bytes) = bytes.split_first_chunk::<4>()?;
        record.status = u16::from_le_bytes([small[0], small[1]]);
        record.attempts = small[2];
        record.reason = Reason::ALL.get(usize::from(small[3])).copied();
        for text in [
            &mut record.client,
            &mut record.request_id,
            &mut record.method,
            &mut record.host,
            &mut record.path,
            &mut record.route,
            &mut record.upstream,
            &mut record.endpoint,
            &mut record.user_agent,
        ] {
            let (len, rest) = bytes.split_first_chunk::<2>()?;
            (*text, bytes) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        }
        Some(record)
    }

    /// What is shown of a text, and whether there was more.
    pub fn shown(text: &[u8]) -> (&[u8], bool) {
        (&text[..text.len().min(MAX_TEXT)], text.len() > MAX_TEXT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_across_the_ring_end() {
        let (mut writer, mut reader) = log_ring(300);
        for i in 0..50u64 {
            let path = vec![b'p'; i as usize];
            let record = Record {
                time_us: i,
                status: 200 + i as u16,
                reason: Some(Reason::NoRoute),
                path: &path,
                route: b"r",
                user_agent: b"curl",
                ..Record::default()
            };
            assert!(writer.push(&record));
            assert_eq!(reader.pop(), Some(record));
            assert_eq!(reader.pop(), None);
        }
    }

    #[test]
    fn a_full_ring_refuses_and_goes_on() {
        let (mut writer, mut reader) = log_ring(200);
        let record = Record { method: b"GET", ..Record::default() };
        let pushed = (0..10).take_while(|_| writer.push(&record)).count();
        assert!(pushed > 0 && pushed < 10);
        assert_eq!(reader.pop(), Some(record.clone()));
        assert!(writer.push(&record));
    }
}
