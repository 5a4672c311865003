#![forbid(unsafe_code)]
//! The memory that Linux lets this process still take: the least of the machine's, each control
//! group's, and the process's own limits, less what is in use.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::memory::Headroom;
use super::unix::limits;

/// What a system of files under `root` tells; `/` is the running one.
pub(super) fn headroom(root: &Path) -> Headroom {
    let memory = [machine(root)].into_iter().chain(groups(root));
    let mut headroom = Headroom { memory: memory.flatten().min(), address_space: None };
    if let Some(Pages { mapped, data, size, .. }) = Pages::read(root) {
        let limits = limits();
        let left = |limit: Option<u64>, pages: u64| Some(limit?.saturating_sub(pages * size));
        let left = [left(limits.address_space, mapped), left(limits.data, data)];
        headroom.address_space = left.into_iter().flatten().min();
    }
    headroom
}

/// Bytes of this process that are in memory.
pub(super) fn resident(root: &Path) -> Option<u64> {
    Pages::read(root).map(|pages| pages.resident * pages.size)
}

/// The process's memory in pages of `size` bytes.
struct Pages {
    mapped: u64,
    resident: u64,
    data: u64,
    size: u64,
}

impl Pages {
    fn read(root: &Path) -> Option<Self> {
        let text = read(&root.join("proc/self/statm"))?;
        let mut pages = text.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (mapped, resident) = (pages.next()??, pages.next()??);
        let data = pages.nth(3)??;
        Some(Self { mapped, resident, data, size: super::unix::page_size()? })
    }
}

/// What the machine could give without swapping.
fn machine(root: &Path) -> Option<u64> {
    number_after(&read(&root.join("proc/meminfo"))?, "MemAvailable:")?.checked_mul(1024)
}

/// What each control group of the process could still give: its own, and those around it.
fn groups(root: &Path) -> Vec<Option<u64>> {
    let (Some(own), Some(mounts)) =
        (read(&root.join("proc/self/cgroup")), read(&root.join("proc/self/mountinfo")))
    else {
        return Vec::new();
    };
    let mut left = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let mine = match mount.version {
                Version::One => controllers.split(',').any(|name| name == "memory"),
                Version::Two => controllers.is_empty(),
            };
            mine.then_some(path)
        });
        let Some(path) = path else { continue };
        let at = root.join(mount.point.trim_start_matches('/'));
        // A container may see its own group as the root, and the path of the host.
        let below = path.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or("");
        let below = Path::new(below.trim_start_matches('/'));
        let inside = |path: &&Path| path.components().all(|part| part.as_os_str() != "..");
        let ancestors = below.ancestors().filter(inside);
        left.extend(ancestors.map(|folder| mount.version.left(&at.join(folder))));
    }
    left
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

/// A mounted hierarchy of control groups that counts memory.
struct Mount<'l> {
    version: Version,
    /// The group that is mounted.
    root: &'l str,
    point: &'l str,
}

impl<'l> Mount<'l> {
    /// A line of `mountinfo`.
    fn parse(line: &'l str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut system = system.split(' ');
        let version = match system.next()? {
            "cgroup2" => Version::Two,
            "cgroup" if system.nth(1)?.split(',').any(|name| name == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, root, point })
    }
}

impl Version {
    /// What the group of `folder` could still give. Pages of files count as free: the system drops
    /// them before it refuses memory.
    fn left(self, folder: &Path) -> Option<u64> {
        let (limits, usage, [inactive, active]): (&[&str], _, _) = match self {
            Self::One => (
                &["memory.limit_in_bytes"],
                "memory.usage_in_bytes",
                ["total_inactive_file", "total_active_file"],
            ),
            Self::Two => {
                (&["memory.max", "memory.high"], "memory.current", ["inactive_file", "active_file"])
            }
        };
        let number = |name: &str| read(&folder.join(name))?.trim().parse::<u64>().ok();
        let limit = limits.iter().filter_map(|name| number(name)).min()?;
        let stat = read(&folder.join("memory.stat")).unwrap_or_default();
        let files = [inactive, active].iter().filter_map(|name| number_after(&stat, name)).sum();
        Some(limit.saturating_sub(number(usage)?.saturating_sub(files)))
    }
}

/// The number after `name` at the start of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The text of a file of the system; `None` where it is not there, or has no memory.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    // Enough for most: such a file has no size that would tell.
    text.try_reserve(4096).ok()?;
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A folder with the files of a system.
    struct System(PathBuf);

    impl System {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("vaekl-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for System {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal: 4000 kB\nMemFree: 100 kB\nMemAvailable: 3000 kB\n");

    #[test]
    fn a_machine_alone_has_what_is_available() {
        let system = System::new("machine", &[MEMINFO]);
        assert_eq!(headroom(&system.0).memory, Some(3000 << 10));
    }

    #[test]
    fn the_least_of_the_groups_around_the_process_counts() {
        let files = [
            MEMINFO,
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/outer/memory.max", "2000000\n"),
            ("sys/fs/cgroup/outer/memory.high", "max\n"),
            ("sys/fs/cgroup/outer/memory.current", "1900000\n"),
            (
                "sys/fs/cgroup/outer/memory.stat",
                "anon 5\ninactive_file 600000\nactive_file 200000\n",
            ),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.high", "1200000\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "1000\n"),
        ];
        let system = System::new("v2", &files);
        assert_eq!(headroom(&system.0).memory, Some(900_000));
        fs::write(system.0.join("sys/fs/cgroup/outer/memory.max"), "max\n").unwrap();
        assert_eq!(headroom(&system.0).memory, Some(1_199_000));
    }

    #[test]
    fn a_container_of_version_one_sees_its_group_as_the_root() {
        let files = [
            MEMINFO,
            ("proc/self/cgroup", "9:name=systemd:/docker/a\n4:cpu,memory:/docker/a\n0::/\n"),
            (
                "proc/self/mountinfo",
                "31 23 0:27 /docker/a /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n\
                 32 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "700000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 100000\n"),
        ];
        let system = System::new("v1", &files);
        assert_eq!(headroom(&system.0).memory, Some(400_000));
        // The same, with a namespace: the path in it is the root's.
        fs::write(system.0.join("proc/self/cgroup"), "4:memory:/\n").unwrap();
        assert_eq!(headroom(&system.0).memory, Some(400_000));
        fs::write(system.0.join("sys/fs/cgroup/memory/memory.usage_in_bytes"), "5000000").unwrap();
        assert_eq!(headroom(&system.0).memory, Some(0));
    }

    #[test]
    fn what_a_system_does_not_tell_is_no_limit() {
        let system = System::new("silent", &[("proc/self/cgroup", "4:memory:/a"), ("x", "")]);
        let headroom = headroom(&system.0);
        assert_eq!((headroom.memory, headroom.address_space), (None, None));
    }

    #[test]
    fn the_running_system_tells() {
        let headroom = headroom(Path::new("/"));
        assert!(headroom.memory.unwrap() > 1 << 20);
        assert!(resident(Path::new("/")).unwrap() > 1 << 20);
    }
}
