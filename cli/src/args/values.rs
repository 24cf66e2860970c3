//! How values on the command line are read.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The longest duration: clocks can add it to any moment.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The most threads that programs run on. More than there are processors gain nothing.
pub const MOST_WORKERS: i64 = 1024;

/// A directory of the host's, and the name under which a guest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirMapping {
    /// On the host.
    pub host: PathBuf,
    /// In the guest.
    pub guest: String,
}

impl FromStr for DirMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, guest) = text.split_once("::").unwrap_or((text, text));
        if host.is_empty() || guest.is_empty() {
            return Err("expected HOST or HOST::GUEST, with names that are not empty".to_owned());
        }
        Ok(Self { host: host.into(), guest: guest.to_owned() })
    }
}

/// A variable of the environment.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// A number of bytes, such as `65536`, `64KiB` or `1.5GB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let size = text.parse::<bytesize::ByteSize>();
    size.map(|size| size.as_u64())
        .map_err(|_| "expected a number of bytes, such as 65536, 64KiB or 1GB".to_owned())
}

/// A duration, such as `500ms` or `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration > LONGEST {
        return Err("expected 100 years at most".to_owned());
    }
    Ok(duration)
}
