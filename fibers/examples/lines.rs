//! A synchronous parser that reads from an async stream.
//!
//! The parser is written against `std::io::Read`, as thousands are. On a fiber its reads wait for a
//! socket without blocking the thread, and the writer runs beside it.

use lampwick_fibers::{Resident, StackPool, Suspender};
use std::io::{self, BufRead, BufReader, Read};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// Makes an async reader look synchronous to code that runs on a fiber.
struct Blocking<'a, R> {
    suspender: &'a Suspender,
    reader: R,
}

impl<R: AsyncRead + Unpin> Read for Blocking<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.suspender.block_on(self.reader.read(buffer)).map_err(io::Error::other)?
    }
}

/// Sums the numbers of each line. It knows of no fiber and no future.
fn sums(input: impl BufRead) -> io::Result<Vec<i64>> {
    input
        .lines()
        .map(|line| {
            line?.split_whitespace().map(|n| n.parse::<i64>().map_err(io::Error::other)).sum()
        })
        .collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = StackPool::new();
    let mut fiber = Resident::new(pool.take()?);
    let (reader, mut writer) = tokio::io::duplex(16);

    let parsing = fiber.run(|suspender| sums(BufReader::new(Blocking { suspender, reader })));
    let writing = async move {
        for line in ["1 2 3\n", "40 ", "2\n", "-7 7\n"] {
            writer.write_all(line.as_bytes()).await?;
            tokio::task::yield_now().await;
        }
        Ok(()) // the writer is dropped here, which ends the stream
    };

    let (sums, written) = tokio::join!(parsing, writing);
    written.map_err(|error: io::Error| error)?;
    let sums = sums?;
    println!("{sums:?}");
    assert_eq!(sums, [6, 42, 0]);
    Ok(())
}
