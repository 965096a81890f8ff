//! The log-in as somebody sees it: in a real browser, chromium without a window, driven over WebDriver.
//!
//! Where there is no `chromedriver` the test says so and does nothing, unless `TIDEWHEEL_BROWSER=required`. `TIDEWHEEL_SCREENSHOTS` names a
//! folder for pictures of the pages.

mod site;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use site::{send, sites};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidewheel_web_login::IDLE;

/// How often a page may be looked at in vain that is to say something, after as long as a log-in lasts. Each look takes 20 ms at least.
const PATIENCE: u32 = 1000;

/// The same, of a page that is to say that a log-in is over.
const LATE: u32 = 100;

/// Held by the test that has browsers: on a busy machine, those of several tests would take too long to start.
static TURN: Mutex<()> = Mutex::new(());

/// The program that drives browsers.
struct Driver {
    process: Child,
    address: SocketAddr,
}

impl Driver {
    /// `None` if there is none here.
    fn start() -> Option<Self> {
        let mut command = Command::new("chromedriver");
        let process = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = match process {
            Ok(process) => process,
            Err(error) => {
                let is_required = std::env::var("TIDEWHEEL_BROWSER").is_ok_and(|value| value == "required");
                assert!(!is_required, "no chromedriver: {error}");
                println!(
                    "SKIPPED: there is no chromedriver here ({error}); Debian has it as chromium-driver"
                );
                return None;
            }
        };
        let output = process.stdout.take().unwrap();
        let mut port = None;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let said = line.strip_prefix("ChromeDriver was started successfully on port ");
            if let Some(said) = said {
                port = said.trim_end_matches('.').parse().ok();
                break;
            }
        }
        let address = (Ipv4Addr::LOCALHOST, port.expect("it says its port")).into();
        Some(Self { process, address })
    }

    fn call(&self, request: &str, body: &Value) -> Value {
        let body = if request.starts_with("GET") { String::new() } else { body.to_string() };
        let answer = send(self.address, request, "Content-Type: application/json\r\n", &body);
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, 200, "{request}: {value}");
        value["value"].clone()
    }

    fn open(&self) -> Browser<'_> {
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=900,600",
        ];
        let chrome = json!({ "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": chrome } } });
        let session = self.call("POST /session", &wanted);
        let id = session["sessionId"].as_str().expect("a session has an id").to_owned();
        Browser { driver: self, id }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A browser of its own, with cookies of its own.
struct Browser<'d> {
    driver: &'d Driver,
    id: String,
}

impl Browser<'_> {
    fn call(&self, what: &str, body: &Value) -> Value {
        let (method, path) = what.split_once(' ').unwrap();
        self.driver.call(&format!("{method} /session/{}{path}", self.id), body)
    }

    fn go(&self, site: SocketAddr) {
        // By name: to a browser that is a safe place, which cookies that are `Secure` may go to.
        self.call("POST /url", &json!({ "url": format!("http://localhost:{}/", site.port()) }));
    }

    fn element(&self, id: &str) -> String {
        let found =
            self.call("POST /element", &json!({ "using": "css selector", "value": format!("#{id}") }));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    fn click(&self, id: &str) {
        self.call(&format!("POST /element/{}/click", self.element(id)), &json!({}));
    }

    fn log_in(&self, name: &str) {
        self.call(&format!("POST /element/{}/value", self.element("name")), &json!({ "text": name }));
        self.click("login");
    }

    /// What the page says at this moment; nothing, while it loads.
    fn status(&self) -> String {
        let script = "const at = document.getElementById('status'); return at ? at.textContent : '';";
        let said = self.call("POST /execute/sync", &json!({ "script": script, "args": [] }));
        said.as_str().unwrap_or("").to_owned()
    }

    /// Waits until the page says so, by itself. Returns how often it was looked at in vain after as long as a log-in lasts, from that moment on. Where
    /// the machine is busy or stands still, looks take longer, too.
    fn wait_for(&self, status: &str, since: Instant) -> u32 {
        let mut late = 0;
        while self.status() != status {
            late += u32::from(since.elapsed() >= IDLE);
            assert!(late < PATIENCE, "it says '{}', not '{status}'", self.status());
            std::thread::sleep(Duration::from_millis(20));
        }
        late
    }

    fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("TIDEWHEEL_SCREENSHOTS") else { return };
        let png = self.call("GET /screenshot", &json!({}));
        let png = Base64::decode_vec(png.as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(std::path::Path::new(&folder).join(name).with_extension("png"), png).unwrap();
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Also after a test that failed: otherwise the browser is left running.
        let closed = std::panic::catch_unwind(AssertUnwindSafe(|| self.call("DELETE ", &json!({}))));
        assert!(closed.is_ok() || std::thread::panicking(), "the browser does not close");
    }
}

const NOBODY: &str = "Nobody is logged in.";

#[test]
fn one_logs_in_and_sees_the_log_in_end_after_five_seconds() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(driver) = Driver::start() else { return };
    let browser = driver.open();
    for (which, site) in sites(IDLE) {
        browser.go(site);
        assert_eq!(browser.status(), NOBODY, "{which}");
        let began = Instant::now();
        browser.log_in("Ada");
        browser.wait_for("Logged in as Ada.", began);
        let shown = Instant::now();
        browser.picture(&format!("logged-in-{}", which.replace(' ', "-")));
        // The page looks again by itself; until then, and so for five seconds, it says that she is logged in.
        let late = browser.wait_for(NOBODY, shown);
        assert!(began.elapsed() >= IDLE, "{which}: logged out after {:?}", began.elapsed());
        assert!(late < LATE, "{which}: logged out late: {late} looks in vain");
        println!("{which}: logged out {:?} after the click", began.elapsed());
    }
}

#[test]
fn who_logs_out_everywhere_sees_it_in_his_other_browser() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(driver) = Driver::start() else { return };
    let [here, there, bob] = [driver.open(), driver.open(), driver.open()];
    for (which, site) in sites(Duration::from_secs(600)) {
        for (browser, name) in [(&here, "Ada"), (&there, "Ada"), (&bob, "Bob")] {
            browser.go(site);
            let began = Instant::now();
            browser.log_in(name);
            browser.wait_for(&format!("Logged in as {name}."), began);
        }
        here.click("logout-everywhere");
        here.wait_for(NOBODY, Instant::now());
        there.go(site);
        assert_eq!(there.status(), NOBODY, "{which}");
        bob.go(site);
        assert_eq!(bob.status(), "Logged in as Bob.", "{which}");
    }
}
