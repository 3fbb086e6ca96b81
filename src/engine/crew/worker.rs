//! worker: one worker process as its run sees it: its orders, its answers, and its end.

use crate::engine::action::Report;
use crate::engine::crew::Reports;
use crate::engine::crew::wire::{Answer, Order};
use crate::engine::error::ActionError;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often the run checks whether a stopping worker has reached a checkpoint.
const LOOK: Duration = Duration::from_millis(50);
/// How often the run checks whether a dying worker has ended.
const PAUSE: Duration = Duration::from_millis(1);
/// Bytes of a dead worker's last output that the run reports.
const WORDS: usize = 2000;
/// Characters of an invalid answer that the run reports.
const QUOTED: usize = 80;

/// How long a run waits for its worker.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a stopping worker may take to its next checkpoint, and a hanging one to its end.
    pub grace: Duration,
    /// How much longer it may take during a save: ending it would lose the work since the last one.
    pub saving: Duration,
}

/// A worker.
pub(super) struct Worker {
    /// A separate thread writes these: a worker that does not read must not delay the run.
    orders: Option<Sender<Order>>,
    shared: Arc<Mutex<Shared>>,
    listener: Option<JoinHandle<()>>,
}

/// What the run's thread and the worker's threads all know of it.
struct Shared {
    child: Child,
    /// Actions that it has not answered.
    open: BTreeSet<u64>,
    /// Those of them that save.
    saving: BTreeSet<u64>,
    is_ready: bool,
    is_stopping: bool,
    is_gone: bool,
    /// Why it cannot work.
    refusal: Option<String>,
    /// Why the run ended it.
    fault: Option<String>,
    /// The end of what it wrote to its standard error.
    words: Vec<u8>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// Starts a worker without waiting for it. Orders queue up until it is ready; if it never is, every action says
    /// why.
    pub(super) fn start(
        mut command: Command,
        hello: Order,
        first: (u64, Order),
        reports: &Reports,
        patience: Patience,
    ) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        // The kernel takes this thread for the worker's parent, so the thread must live as long as the run.
        let mut child = command.spawn().map_err(|error| format!("could not start {program}: {error}"))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err("BUG: a worker without pipes".to_owned());
        };
        let shared = Arc::new(Mutex::new(Shared {
            child,
            open: BTreeSet::from([first.0]),
            saving: BTreeSet::new(),
            is_ready: false,
            is_stopping: false,
            is_gone: false,
            refusal: None,
            fault: None,
            words: Vec::new(),
        }));
        let no_thread = |error| format!("could not start a thread: {error}");
        let (orders, queue) = channel();
        let (written, words, heard) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&shared));
        Builder::new().spawn(move || write(stdin, queue, &written, patience)).map_err(no_thread)?;
        let remembers = Builder::new().spawn(move || remember_words(stderr, &words)).map_err(no_thread)?;
        let reports = Arc::clone(reports);
        let listens = move || {
            let status = match listen(BufReader::new(stdout), &heard, &reports) {
                Ok(()) => outlast(&heard, patience.grace, "said no more"),
                Err(fault) => outlast(&heard, Duration::ZERO, &fault),
            };
            let _ = remembers.join(); // The report needs its last words.
            bury(&heard, status, &reports);
        };
        let listener = Builder::new().spawn(listens).map_err(no_thread)?;
        let worker = Self { orders: Some(orders), shared, listener: Some(listener) };
        worker.say(hello);
        worker.say(first.1);
        Ok(worker)
    }

    /// Hands it an action, whose end is reported in any case. Returns the order if the worker is gone.
    pub(super) fn take_on(&self, id: u64, order: Order) -> Option<Order> {
        {
            let mut shared = lock(&self.shared);
            if shared.is_gone {
                return Some(order);
            }
            shared.open.insert(id);
        }
        self.say(order);
        None
    }

    /// Asks it to end its actions, and limits the time that it takes.
    pub(super) fn stop(&self, patience: Patience) {
        {
            let mut shared = lock(&self.shared);
            shared.is_stopping = true;
            if !shared.is_ready {
                let _ = shared.child.kill(); // It has begun nothing.
                return;
            }
        }
        self.say(Order::Stop);
        let shared = Arc::clone(&self.shared);
        let _ = Builder::new().spawn(move || end_in_time(&shared, patience));
    }

    fn say(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order); // Without a writer, the worker is about to be ended.
        }
    }
}

impl Drop for Worker {
    /// A worker leaves when its input ends.
    fn drop(&mut self) {
        self.orders = None;
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

/// Passes on the orders of a run until there are no more.
fn write(mut stdin: ChildStdin, orders: Receiver<Order>, shared: &Mutex<Shared>, patience: Patience) {
    for order in orders {
        let written = serde_json::to_vec(&order).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            stdin.write_all(&line)
        });
        if written.is_err() {
            // Usually it is dead. If not, it would never receive its orders.
            let _ = outlast(shared, patience.grace, "took no more orders");
            return;
        }
    }
}

/// Passes on the worker's answers until they end. An error says why the run stops listening.
fn listen(mut stdout: impl BufRead, shared: &Mutex<Shared>, reports: &Reports) -> Result<(), String> {
    let mut line = Vec::new();
    loop {
        line.clear();
        stdout.read_until(b'\n', &mut line).map_err(|error| format!("could not be heard ({error})"))?;
        if line.pop() != Some(b'\n') {
            return Ok(()); // The worker ended within its last line.
        }
        let done = |id, result| {
            {
                let mut shared = lock(shared);
                shared.open.remove(&id);
                shared.saving.remove(&id);
            }
            reports(Report::Done(id, Box::new(result)));
        };
        match serde_json::from_slice(&line) {
            Ok(Answer::Ready) => lock(shared).is_ready = true,
            Ok(Answer::Refused { why }) => {
                lock(shared).refusal = Some(why);
                return Ok(());
            }
            Ok(Answer::Event { id, event }) => reports(Report::Event(id, event)),
            Ok(Answer::Saving { id, begun: true }) => _ = lock(shared).saving.insert(id),
            Ok(Answer::Saving { id, begun: false }) => _ = lock(shared).saving.remove(&id),
            Ok(Answer::Made { id, record }) => done(id, Ok(*record)),
            Ok(Answer::Failed { id, error }) => done(id, Err(error)),
            // Nothing after this line can be trusted, and an answer may be lost.
            Err(_) => {
                let quoted: String = String::from_utf8_lossy(&line).chars().take(QUOTED).collect();
                return Err(format!("said {quoted:?}, which is no answer,"));
            }
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

/// Ends a stopping worker that exceeds the run's patience.
fn end_in_time(shared: &Mutex<Shared>, patience: Patience) {
    let (mut waited, mut saved) = (Duration::ZERO, Duration::ZERO);
    loop {
        {
            let mut shared = lock(shared);
            if shared.is_gone || shared.open.is_empty() {
                return;
            }
            let (so_far, most) = match shared.saving.is_empty() {
                true => (&mut waited, patience.grace),
                false => (&mut saved, patience.saving),
            };
            if *so_far >= most {
                // What it has committed stays; only the work since the last checkpoint is lost.
                let _ = shared.child.kill();
                return;
            }
            *so_far += LOOK;
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits for the end of a worker that `fault` has made useless, and kills it after `patience`. Other threads can take
/// the lock meanwhile.
fn outlast(shared: &Mutex<Shared>, patience: Duration, fault: &str) -> io::Result<ExitStatus> {
    let mut waited = Duration::ZERO;
    loop {
        {
            let mut shared = lock(shared);
            if let Some(status) = shared.child.try_wait()? {
                return Ok(status);
            }
            if waited >= patience && shared.fault.is_none() {
                shared.fault = Some(format!("{fault} and was ended"));
                shared.child.kill()?;
            }
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// Reports of every open action that it ended with the worker.
fn bury(shared: &Mutex<Shared>, status: io::Result<ExitStatus>, reports: &Reports) {
    let (open, error) = {
        let mut shared = lock(shared);
        shared.is_gone = true;
        let (how, code) = match (shared.fault.take(), status) {
            (Some(fault), _) => (fault, None),
            (None, Ok(status)) => (ended(status), status.code()),
            (None, Err(error)) => (format!("is gone: {error}"), None),
        };
        let words = String::from_utf8_lossy(&shared.words).trim().to_owned();
        let died = ActionError::Died { how, code, words };
        let error = match shared.refusal.take() {
            _ if shared.is_stopping => ActionError::Interrupted,
            Some(why) => ActionError::NoWorker { why },
            None if !shared.is_ready => ActionError::NoWorker { why: died.to_string() },
            None => died,
        };
        (std::mem::take(&mut shared.open), error)
    };
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

/// Makes the kernel end a worker whose run is gone, so that a killed run leaves no worker. The run handles requests to
/// stop, such as Ctrl-C to its group: a worker ignores them from its first moment.
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
            // The run may have died before the call.
            if libc::getppid() == parent { Ok(()) } else { Err(io::Error::other("the run is gone")) }
        });
    }
}
