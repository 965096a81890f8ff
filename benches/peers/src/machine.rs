//! What figures without which are worth little: the machine, the compiler, the versions of the others.

use std::process::Command;

pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: u64,
    pub(crate) system: String,
    pub(crate) compiler: String,
    /// The average of waiting and running threads of the last minute, before the start.
    pub(crate) load: String,
}

impl Machine {
    /// What the system tells of itself; "unknown" where it does not.
    pub(crate) fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            line.map(|(_, value)| value.trim().to_owned())
        };
        let unknown = || "unknown".to_owned();
        let first = |text: &str| text.split_whitespace().next().map_or_else(unknown, str::to_owned);
        let kibibytes =
            field(&read("/proc/meminfo"), "MemTotal").and_then(|total| first(&total).parse().ok());
        let compiler = Command::new("rustc").arg("--version").output().ok();
        let compiler = compiler.and_then(|output| String::from_utf8(output.stdout).ok());
        Self {
            cores: cores(),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            memory_gib: kibibytes.map_or(0, |kibibytes: u64| (kibibytes + (1 << 19)) >> 20),
            system: format!("{} {}", std::env::consts::OS, first(&read("/proc/sys/kernel/osrelease"))),
            compiler: compiler.map_or_else(unknown, |version| version.trim().to_owned()),
            load: first(&read("/proc/loadavg")),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cores, processor, memory_gib, system, compiler, load } = self;
        write!(
            f,
            "{cores} cores, {processor}, {memory_gib} GiB; {system}; {compiler}; load before the start: {load}"
        )
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The crates that are compared, with the versions that this program was built with.
pub(crate) fn versions() -> Vec<(&'static str, &'static str)> {
    const COMPARED: [&str; 10] = [
        "dashmap",
        "papaya",
        "scc",
        "quick_cache",
        "moka",
        "mini-moka",
        "foyer-memory",
        "stretto",
        "tidewheel",
        "ahash",
    ];
    let lock = include_str!("../Cargo.lock");
    // A crate that others use in an older version is there twice, the newer one last.
    let version = |name| {
        let packages = lock.split("[[package]]").filter_map(|package| {
            let quoted = |field| package.split_once(field)?.1.split('"').nth(1);
            (quoted("name = ")? == name).then(|| quoted("version = "))?
        });
        packages.last()
    };
    COMPARED.into_iter().filter_map(|name| Some((name, version(name)?))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_compared_crate_has_a_version() {
        let versions = super::versions();
        assert_eq!(versions.len(), 10, "{versions:?}");
        assert!(versions.iter().any(|(name, version)| *name == "dashmap" && version.starts_with("6.")));
    }
}
