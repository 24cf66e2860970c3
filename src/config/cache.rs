//! The cache's configuration, in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use etcetera::BaseStrategy;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Config;
use crate::compile::CacheSettings;

/// A file with the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    cache: CacheTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct CacheTable {
    enabled: bool,
    directory: Option<PathBuf>,
    #[serde(deserialize_with = "size")]
    files_total_size_limit: u64,
    file_count_limit: u64,
}

impl Default for CacheTable {
    fn default() -> Self {
        Self {
            enabled: true,
            directory: None,
            files_total_size_limit: 512 << 20,
            file_count_limit: 10_000,
        }
    }
}

impl Config {
    /// Keeps compiled modules in a directory, as a file in TOML says:
    ///
    /// ```toml
    /// [cache]
    /// enabled = true                  # the default
    /// directory = "/var/cache/me"     # absolute; by default `lampwick` in the user's cache directory
    /// files-total-size-limit = "512Mi" # the default; bytes, or with K, M, G, T, Ki, Mi, Gi, Ti
    /// file-count-limit = 10000        # the default
    /// ```
    ///
    /// Engines then look there before they compile what [`Module::new`](crate::Module::new) and its
    /// like are given, and put there what they compiled. A module is found again if its bytes, the
    /// version of Lampwick, the settings and the machine are the same. Any number of processes may use
    /// the directory at a time. When a limit is exceeded, what was used longest ago is removed. Errors
    /// in reading and writing entries are not reported; the module is then compiled.
    ///
    /// What is in the directory is executed. It is made so that only its owner may enter it; an
    /// existing one must belong to the user of the process, and nobody else may be allowed to write to
    /// it, or [`Engine::new`](crate::Engine::new) fails. Entries which others own or may write
    /// to are replaced. Programs of the same user must not change entries.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, has unknown keys or values that are no such thing, with their
    /// place, or a limit of zero.
    pub fn cache_config_load(&mut self, path: impl AsRef<Path>) -> Result<&mut Self> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(anyhow::Error::new);
        let settings = text.and_then(|text| settings(&text));
        self.cache = settings.with_context(|| {
            format!("cannot load the cache's configuration `{}`", path.display())
        })?;
        Ok(self)
    }

    /// As [`Config::cache_config_load`], with `lampwick/config.toml` in the user's configuration
    /// directory (on Linux `$XDG_CONFIG_HOME`, or `~/.config`), or with the defaults if there is no
    /// such file.
    ///
    /// # Errors
    ///
    /// As for [`Config::cache_config_load`], and if the user has no home directory.
    pub fn cache_config_load_default(&mut self) -> Result<&mut Self> {
        let path = directories()?.config_dir().join("lampwick").join("config.toml");
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.cache = CacheTable::default().settings()?;
                Ok(self)
            }
            _ => self.cache_config_load(path),
        }
    }
}

/// What a file says; nothing if it disables the cache.
fn settings(text: &str) -> Result<Option<CacheSettings>> {
    toml::from_str::<ConfigFile>(text)?.cache.settings()
}

impl CacheTable {
    fn settings(self) -> Result<Option<CacheSettings>> {
        if !self.enabled {
            return Ok(None);
        }
        let (size_limit, count_limit) = (self.files_total_size_limit, self.file_count_limit);
        for (key, limit) in
            [("files-total-size-limit", size_limit), ("file-count-limit", count_limit)]
        {
            if limit == 0 {
                bail!("`{key}` is 0; a cache that keeps nothing is `enabled = false`");
            }
        }
        let directory = match self.directory {
            Some(directory) => directory,
            None => directories()?.cache_dir().join("lampwick"),
        };
        if !directory.is_absolute() {
            bail!("`directory` is `{}`, which is not an absolute path", directory.display());
        }
        Ok(Some(CacheSettings { directory, size_limit, count_limit }))
    }
}

fn directories() -> Result<impl BaseStrategy> {
    etcetera::choose_base_strategy().context("the user's directories are unknown")
}

/// A number of bytes, or a text that [`parse_size`] understands.
fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let parsed = match toml::Value::deserialize(from)? {
        toml::Value::Integer(bytes) => u64::try_from(bytes).ok(),
        toml::Value::String(text) => parse_size(&text),
        _ => None,
    };
    parsed
        .ok_or_else(|| D::Error::custom("expected a number of bytes such as 1000000 or \"512Mi\""))
}

/// A number with a unit, or without.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start() {
        "" => 1,
        "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}
