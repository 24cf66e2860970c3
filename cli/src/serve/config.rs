//! The routes of a directory and their limits, from `lampwick.toml` or from what lies there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Deserializer};

use crate::args::values::DirMapping;

/// The file in the directory.
const FILE: &str = "lampwick.toml";

/// What a request may take.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limits {
    /// Units of fuel.
    pub(super) fuel: u64,
    /// Units of fuel after which others run.
    pub(super) slice: u64,
    /// Bytes of memories and tables together.
    pub(super) memory: u64,
    /// From the request's head to the end of the answer.
    pub(super) time: Duration,
    /// Requests at a time.
    pub(super) guests: usize,
    /// Bytes of a request's body that are kept where it does not say how long it is; with 0 the body
    /// is passed on as it comes.
    pub(super) buffer: u64,
}

/// A route as it is configured; paths on the host are complete.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) path: String,
    pub(super) program: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    pub(super) dirs: Vec<DirMapping>,
    pub(super) write: bool,
    pub(super) limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    defaults: Defaults,
    #[serde(default, rename = "route")]
    routes: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    fuel: Option<u64>,
    slice: Option<u64>,
    #[serde(default, deserialize_with = "bytes")]
    memory: Option<u64>,
    #[serde(default, deserialize_with = "duration")]
    time: Option<Duration>,
    guests: Option<usize>,
    #[serde(default, deserialize_with = "bytes")]
    buffer: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    program: PathBuf,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    dirs: Vec<String>,
    #[serde(default)]
    write: bool,
    fuel: Option<u64>,
    slice: Option<u64>,
    #[serde(default, deserialize_with = "bytes")]
    memory: Option<u64>,
    #[serde(default, deserialize_with = "duration")]
    time: Option<Duration>,
    guests: Option<usize>,
    #[serde(default, deserialize_with = "bytes")]
    buffer: Option<u64>,
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::args::values::bytes(&text).map(Some).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::args::values::duration(&text).map(Some).map_err(serde::de::Error::custom)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            slice: 100_000,
            memory: 64 << 20,
            time: Duration::from_secs(10),
            guests: 64,
            buffer: 1 << 20,
        }
    }
}

impl Limits {
    /// These limits where the file does not say otherwise.
    fn with(&self, given: Defaults) -> Result<Self> {
        let limits = Self {
            fuel: given.fuel.unwrap_or(self.fuel),
            slice: given.slice.unwrap_or(self.slice),
            memory: given.memory.unwrap_or(self.memory),
            time: given.time.unwrap_or(self.time),
            guests: given.guests.unwrap_or(self.guests),
            buffer: given.buffer.unwrap_or(self.buffer),
        };
        ensure!(limits.slice > 0, "`slice` is 0: 1 unit of fuel is the least");
        let most = tokio::sync::Semaphore::MAX_PERMITS;
        ensure!(limits.guests <= most, "`guests` is {}: {most} are the most", limits.guests);
        Ok(limits)
    }
}

/// The routes of a directory.
pub(super) fn load(dir: &Path) -> Result<Vec<Route>> {
    let file = dir.join(FILE);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).context(format!("cannot read `{}`", file.display())),
    };
    let routes = match text {
        Some(text) => parse(dir, &text).with_context(|| format!("`{}`", file.display()))?,
        None => found(dir).with_context(|| format!("cannot read `{}`", dir.display()))?,
    };
    ensure!(
        !routes.is_empty(),
        "`{}` has nothing to serve: neither routes in {FILE} nor files that end in .wasm or .wat",
        dir.display()
    );
    Ok(routes)
}

/// A route for each module in the directory.
fn found(dir: &Path) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let program = entry?.path();
        let name = program.file_stem().and_then(|name| name.to_str());
        let (Some(name), true) =
            (name, program.extension().is_some_and(|it| it == "wasm" || it == "wat"))
        else {
            continue;
        };
        routes.push(Route {
            path: format!("/{name}"),
            program,
            env: BTreeMap::new(),
            dirs: Vec::new(),
            write: false,
            limits: Limits::default(),
        });
    }
    routes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(routes)
}

fn parse(dir: &Path, text: &str) -> Result<Vec<Route>> {
    let document: Document = toml::from_str(text)?;
    let defaults = Limits::default().with(document.defaults).context("[defaults]")?;
    let mut routes: Vec<Route> = Vec::new();
    for entry in document.routes {
        let path = entry.path.clone();
        let route = route(dir, entry, &defaults).with_context(|| format!("route `{path}`"))?;
        if routes.iter().any(|other| other.path == route.path) {
            bail!("there are two routes `{path}`");
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(dir: &Path, entry: Entry, defaults: &Limits) -> Result<Route> {
    let Entry { path, program, env, dirs, write, .. } = entry;
    let Entry { fuel, slice, memory, time, guests, buffer, .. } = entry;
    ensure!(path.starts_with('/'), "a path begins with `/`");
    ensure!(path == "/" || !path.ends_with('/'), "a path does not end with `/`");
    for (name, value) in &env {
        let bad = name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
        ensure!(!bad, "the variable {name:?} cannot be in an environment");
    }
    let dirs = dirs.iter().map(|text| {
        let mapping: DirMapping = text.parse().map_err(anyhow::Error::msg)?;
        Ok(DirMapping { host: dir.join(mapping.host), guest: mapping.guest })
    });
    Ok(Route {
        program: dir.join(program),
        dirs: dirs.collect::<Result<_>>()?,
        limits: defaults.with(Defaults { fuel, slice, memory, time, guests, buffer })?,
        path,
        env,
        write,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_their_own_limits_or_the_defaults() {
        let text = r#"
            [defaults]
            memory = "1MiB"
            [[route]]
            path = "/"
            program = "a.wasm"
            [[route]]
            path = "/b"
            program = "b.wasm"
            dirs = ["data::/data"]
            time = "250ms"
            memory = "2MiB"
            buffer = "0"
        "#;
        let routes = parse(Path::new("/site"), text).unwrap();
        let expected = Limits { memory: 1 << 20, ..Limits::default() };
        assert_eq!(routes[0].limits, expected);
        let time = Duration::from_millis(250);
        assert_eq!(routes[1].limits, Limits { memory: 2 << 20, time, buffer: 0, ..expected });
        assert_eq!(routes[1].program, Path::new("/site/b.wasm"));
        assert_eq!(routes[1].dirs[0].host, Path::new("/site/data"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("[defaults]\nfule = 1", "unknown field `fule`"),
            ("[defaults]\nslice = 0", "`slice` is 0"),
            ("[[route]]\npath = \"a\"\nprogram = \"x\"", "route `a`: a path begins with `/`"),
            ("[[route]]\npath = \"/a/\"\nprogram = \"x\"", "does not end with `/`"),
            ("[[route]]\npath = \"/a\"\nprogram = \"x\"\ntime = \"soon\"", "time"),
            ("[defaults]\ntime = \"101years\"", "100 years at most"),
            (
                "[[route]]\npath = \"/a\"\nprogram = \"x\"\nenv = { A = \"\\u0000\" }",
                "\"A\" cannot",
            ),
            (
                "[[route]]\npath = \"/a\"\nprogram = \"x\"\n[[route]]\npath = \"/a\"\nprogram = \"y\"",
                "two routes `/a`",
            ),
        ] {
            let error = format!("{:#}", parse(Path::new("."), text).unwrap_err());
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
