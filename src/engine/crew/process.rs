//! process: a crew of one worker process, kept warm, that speaks JSON lines.
//!
//! What a native library does to its process, from an abort to an end for want of memory, ends an action and not the run.

use crate::engine::action::{Action, Report};
use crate::engine::crew::wire::{Answer, Hello, Job, Order};
use crate::engine::crew::{Crew, Reports};
use crate::engine::error::{ActionError, EngineError};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// So long a worker that was asked to stop may take to its next checkpoint.
const GRACE: Duration = Duration::from_secs(8);
/// How often it is looked whether it has come there.
const LOOK: Duration = Duration::from_millis(50);
/// So much of what a worker wrote last is told when it dies.
const WORDS: usize = 2000;

/// Makes the command that starts a worker, or says why there is none.
pub type Start = Box<dyn Fn() -> Result<Command, EngineError>>;

/// The crew.
pub struct Process {
    command: Start,
    hello: Order,
    reports: Reports,
    worker: Option<Worker>,
}

struct Worker {
    stdin: Option<ChildStdin>,
    shared: Arc<Mutex<Shared>>,
    listener: Option<JoinHandle<()>>,
}

/// What the run's thread and those that listen to a worker both know of it.
struct Shared {
    child: Child,
    /// Actions that it has not answered.
    open: BTreeSet<u64>,
    is_stopping: bool,
    is_gone: bool,
    /// The end of what it wrote to its standard error.
    words: Vec<u8>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Nobody yet: the first action starts the worker that `command` makes.
    pub fn new(command: Start, hello: Hello, reports: Reports) -> Self {
        Self { command, hello: Order::Hello(Box::new(hello)), reports, worker: None }
    }

    /// The worker, started if there is none.
    fn worker(&mut self) -> Result<&mut Worker, EngineError> {
        let is_gone = |worker: &Worker| lock(&worker.shared).is_gone;
        if self.worker.as_ref().is_none_or(is_gone) {
            self.worker = None;
            let started = Worker::start((self.command)()?, &self.hello, &self.reports);
            self.worker = Some(started.map_err(|why| EngineError::NoCrew { why })?);
        }
        Ok(self.worker.as_mut().expect("BUG: a worker that was just started"))
    }
}

impl Crew for Process {
    fn start(&mut self, action: Action) -> Result<(), EngineError> {
        let reports = Arc::clone(&self.reports);
        let worker = self.worker()?;
        lock(&worker.shared).open.insert(action.id);
        // Who cannot be written to is dead: its listener says so of every open action.
        if worker.say(&Order::Do(Box::new(Job::from(&action)))).is_err() && lock(&worker.shared).is_gone {
            let was_open = lock(&worker.shared).open.remove(&action.id);
            if was_open {
                let error = ActionError::Died { how: "was gone".to_owned(), code: None, words: String::new() };
                reports(Report::Done(action.id, Box::new(Err(error))));
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        lock(&worker.shared).is_stopping = true;
        let _ = worker.say(&Order::Stop);
        let shared = Arc::clone(&worker.shared);
        let waits = move || {
            let mut waited = Duration::ZERO;
            while waited < GRACE {
                std::thread::sleep(LOOK);
                waited += LOOK;
                let shared = lock(&shared);
                if shared.is_gone || shared.open.is_empty() {
                    return;
                }
            }
            // What it has committed stays; only what is between two checkpoints is done again.
            let _ = lock(&shared).child.kill();
        };
        let _ = Builder::new().spawn(waits);
    }
}

impl Worker {
    fn start(mut command: Command, hello: &Order, reports: &Reports) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| format!("could not start {program}: {error}"))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err("BUG: a worker without pipes".to_owned());
        };
        let shared = Shared { child, open: BTreeSet::new(), is_stopping: false, is_gone: false, words: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        let (ready, is_ready) = sync_channel(1);
        let no_thread = |error| format!("could not start a thread: {error}");
        let words = Arc::clone(&shared);
        let hears = Builder::new().spawn(move || remember_words(stderr, &words)).map_err(no_thread)?;
        let (answers, reports) = (Arc::clone(&shared), Arc::clone(reports));
        let listens = move || {
            listen(BufReader::new(stdout), &answers, &reports, &ready);
            let _ = hears.join(); // Its last words are wanted.
            bury(&answers, &reports, &ready);
        };
        let listener = Builder::new().spawn(listens).map_err(no_thread)?;
        let mut worker = Self { stdin: Some(stdin), shared, listener: Some(listener) };
        let _ = worker.say(hello); // If it is dead, its listener knows why.
        is_ready.recv().unwrap_or_else(|_| Err("BUG: a worker that nobody listens to".to_owned()))?;
        Ok(worker)
    }

    fn say(&mut self, order: &Order) -> std::io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        stdin.write_all(&line)
    }
}

impl Drop for Worker {
    /// A worker whose input ends leaves.
    fn drop(&mut self) {
        self.stdin = None;
        {
            let mut shared = lock(&self.shared);
            shared.is_stopping = true;
            if !shared.open.is_empty() {
                let _ = shared.child.kill();
            }
        }
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// Passes on what a worker says, until it says no more.
fn listen(stdout: impl BufRead, shared: &Mutex<Shared>, reports: &Reports, ready: &SyncSender<Result<(), String>>) {
    for line in stdout.split(b'\n') {
        let Ok(line) = line else { return };
        let done = |id, result| {
            lock(shared).open.remove(&id);
            reports(Report::Done(id, Box::new(result)));
        };
        match serde_json::from_slice(&line) {
            Ok(Answer::Ready) => _ = ready.try_send(Ok(())),
            Ok(Answer::Refused { why }) => _ = ready.try_send(Err(why)),
            Ok(Answer::Event { id, event }) => reports(Report::Event(id, event)),
            Ok(Answer::Made { id, record }) => done(id, Ok(*record)),
            Ok(Answer::Failed { id, error }) => done(id, Err(error)),
            // Some library printed it.
            Err(_) => lock(shared).words.extend_from_slice(&line),
        }
    }
}

fn remember_words(mut stderr: impl Read, shared: &Mutex<Shared>) {
    let mut block = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut block) {
        let mut shared = lock(shared);
        shared.words.extend_from_slice(&block[..read]);
        let too_many = shared.words.len().saturating_sub(WORDS);
        shared.words.drain(..too_many);
    }
}

/// Says of every action that a worker had begun that it ended with the worker.
fn bury(shared: &Mutex<Shared>, reports: &Reports, ready: &SyncSender<Result<(), String>>) {
    let (open, error) = {
        let mut shared = lock(shared);
        let (how, code) = match shared.child.wait() {
            Ok(status) => (ended(status), status.code()),
            Err(error) => (format!("is gone: {error}"), None),
        };
        shared.is_gone = true;
        let words = String::from_utf8_lossy(&shared.words).trim().to_owned();
        let died = if shared.is_stopping { ActionError::Interrupted } else { ActionError::Died { how, code, words } };
        (std::mem::take(&mut shared.open), died)
    };
    let _ = ready.try_send(Err(error.to_string()));
    for id in open {
        reports(Report::Done(id, Box::new(Err(error.clone()))));
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGKILL), _) => "was killed (signal 9; the system does that when memory runs out)".to_owned(),
        (Some(libc::SIGABRT), _) => "aborted (signal 6)".to_owned(),
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, code) => format!("ended with code {}", code.unwrap_or_default()),
    }
}

/// Has the kernel end a worker whose run is gone, so that a killed run leaves nobody at work. What asks a run to stop, such
/// as Ctrl-C to its group, is the run's to deal with: a worker ignores it from its first moment.
#[expect(unsafe_code, reason = "std does not set a parent-death signal")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl, signal and getppid may be called between fork and exec, and nothing else is.
    unsafe {
        let parent = libc::getpid();
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            for asked in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1] {
                libc::signal(asked, libc::SIG_IGN);
            }
            // It may have died before that.
            if libc::getppid() == parent { Ok(()) } else { Err(std::io::Error::other("the run is gone")) }
        });
    }
}
