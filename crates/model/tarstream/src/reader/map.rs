//! Reading the maps of sparse files, of which there are four formats.

use std::io::Read;

use super::{Reader, fill, is_sparse_key, read_error, wrong};
use crate::header::{Format, Header};
use crate::pax::Records;
use crate::{BLOCK, Error, Name, Segment, number, sparse};

impl<R: Read> Reader<R> {
    /// The map of a sparse file and its real size, if it is one. Leaves in `remaining` what is
    /// data.
    pub(super) fn sparse_map(
        &mut self,
        header: &Header<'_>,
        records: &Records,
        name: &Name,
    ) -> Result<Option<(Vec<Segment>, u64)>, Error> {
        if header.kind() == b'S' {
            return self.gnu_sparse_map(header, name).map(Some);
        }
        if !records.iter().any(|(key, _)| is_sparse_key(key)) {
            return Ok(None);
        }
        let decimal = |key: &[u8]| match records.get(key) {
            None => Ok(None),
            Some(text) => match number::parse_decimal(text) {
                None => Err(wrong(name, "a malformed number about a sparse file")),
                value => Ok(value),
            },
        };
        let version = (decimal(b"GNU.sparse.major")?, decimal(b"GNU.sparse.minor")?);
        let size = match decimal(b"GNU.sparse.realsize")? {
            None => decimal(b"GNU.sparse.size")?,
            size => size,
        };
        let size = size.filter(|size| i64::try_from(*size).is_ok());
        let size = size.ok_or_else(|| wrong(name, "a sparse file without a size"))?;
        let numbers = match version {
            (Some(1), Some(0)) => self.sparse_1_0(name)?,
            (None | Some(0), None | Some(0 | 1)) => self.sparse_0(records, name)?,
            _ => return Err(wrong(name, "a sparse file of an unknown format")),
        };
        let map = sparse::from_numbers(&numbers).map_err(|why| wrong(name, why))?;
        Ok(Some((map, size)))
    }

    /// The old format: four pieces in the header, more in blocks after it, which are not part of
    /// the data.
    fn gnu_sparse_map(
        &mut self,
        header: &Header<'_>,
        name: &Name,
    ) -> Result<(Vec<Segment>, u64), Error> {
        if header.format() != Format::Gnu {
            return Err(wrong(name, "a sparse file in a header that has no map"));
        }
        let (fields, mut more, size) = header.gnu_sparse();
        let mut map = Vec::new();
        sparse::parse_gnu(fields, &mut map).map_err(|why| wrong(name, why))?;
        while more {
            let mut block = [0; BLOCK];
            let within = || format!("in the header of {name}");
            let n_read = fill(&mut self.inner, &mut block).map_err(|e| read_error(within(), e))?;
            self.offset += n_read as u64;
            if n_read < BLOCK {
                return Err(Error::Truncated { within: within() });
            }
            sparse::parse_gnu(&block[..504], &mut map).map_err(|why| wrong(name, why))?;
            more = block[504] != 0;
            self.check_pieces(map.len(), name)?;
        }
        let size = size.and_then(|size| u64::try_from(size).ok());
        Ok((map, size.ok_or_else(|| wrong(name, "a sparse file without a size"))?))
    }

    /// Formats 0.0 (pairs of records) and 0.1 (one record).
    fn sparse_0(&self, records: &Records, name: &Name) -> Result<Vec<u64>, Error> {
        let malformed = || wrong(name, "a malformed sparse map");
        let mut numbers = Vec::new();
        if let Some(text) = records.get(b"GNU.sparse.map") {
            for number in text.split(|byte| *byte == b',') {
                numbers.push(number::parse_decimal(number).ok_or_else(malformed)?);
                self.check_pieces(numbers.len() / 2, name)?;
            }
            return Ok(numbers);
        }
        for (key, value) in records.iter() {
            let is_offset = match key {
                b"GNU.sparse.offset" => true,
                b"GNU.sparse.numbytes" => false,
                _ => continue,
            };
            if is_offset != numbers.len().is_multiple_of(2) {
                return Err(malformed());
            }
            numbers.push(number::parse_decimal(value).ok_or_else(malformed)?);
            self.check_pieces(numbers.len() / 2, name)?;
        }
        Ok(numbers)
    }

    /// Format 1.0: lines of decimal numbers at the start of the data, filled to whole blocks.
    fn sparse_1_0(&mut self, name: &Name) -> Result<Vec<u64>, Error> {
        let malformed = || wrong(name, "a malformed sparse map");
        let mut numbers: Vec<u64> = Vec::new();
        let mut n_wanted = None;
        let mut digits = Vec::new();
        loop {
            let mut block = [0; BLOCK];
            if self.remaining < BLOCK as u64 {
                return Err(malformed());
            }
            let mut n_read = 0;
            while n_read < BLOCK {
                n_read += self.read_data(&mut block[n_read..])?;
            }
            for byte in block {
                if n_wanted == Some(numbers.len() as u64) {
                    return Ok(numbers);
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(malformed());
                    }
                    continue;
                }
                let number = number::parse_decimal(&digits).ok_or_else(malformed)?;
                digits.clear();
                if n_wanted.is_some() {
                    numbers.push(number);
                    continue;
                }
                self.check_pieces(usize::try_from(number).unwrap_or(usize::MAX), name)?;
                n_wanted = Some(number * 2);
            }
            if n_wanted == Some(numbers.len() as u64) {
                return Ok(numbers);
            }
        }
    }

    fn check_pieces(&self, n_pieces: usize, name: &Name) -> Result<(), Error> {
        if n_pieces > self.limits.sparse {
            let max = self.limits.sparse as u64;
            return Err(Error::Limit { entry: name.clone(), what: "its sparse map", max });
        }
        Ok(())
    }
}
