//! A test in a process of its own: the test program again, with that one test.

use std::env;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

const ROLE: &str = "TIDEWHEEL_TEST_CHILD";

/// What became of a process.
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    /// Standard output and error.
    pub(crate) said: String,
}

/// Whether this is the process of the test's own.
pub(crate) fn is_here() -> bool {
    env::var_os(ROLE).is_some()
}

/// Naps while waiting, in a second. They are counted, and not the time: a machine that stops costs one of them.
const NAPS: u64 = 200;

/// Begins the test of that path again, in a process of its own, and waits for its end, which has to come in that time. Its
/// first thread runs `first` before it becomes the test program: all its threads begin with the signals that that one blocks.
pub(crate) fn again(test: &str, seconds: u64, first: fn()) -> End {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--include-ignored"]).env(ROLE, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: what the tests give here are system calls alone.
    unsafe {
        command.pre_exec(move || {
            first();
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let errors = thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let mut naps = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if naps > NAPS * seconds {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{test} hangs after {seconds} s: {}{}", reader.join().unwrap(), errors.join().unwrap());
        }
        naps += 1;
        thread::sleep(Duration::from_millis(1000 / NAPS));
    };
    End { status, said: reader.join().unwrap() + &errors.join().unwrap() }
}

/// The same, and it has to end well.
pub(crate) fn passes(test: &str, seconds: u64, first: fn()) -> String {
    let End { status, said } = again(test, seconds, first);
    assert!(status.success(), "{test}: {status}\n{said}");
    assert!(said.contains("1 passed"), "{test} ran no test\n{said}");
    said
}
