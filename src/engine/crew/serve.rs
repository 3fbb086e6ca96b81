//! serve: a worker process: reads actions from its standard input and writes their results to its standard output.

use crate::engine::action::{Benches, Site};
use crate::engine::crew::Crew;
use crate::engine::crew::threads::Threads;
use crate::engine::crew::wire::{Answer, Hello, Order, Records};
use crate::engine::error::ActionError;
use crate::engine::{Cancel, Device, Plan};
use crate::store::Store;
use std::io::{BufRead, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};

/// What a worker works on.
pub struct Workplace {
    /// The run's plan.
    pub plan: Plan,
    /// The run's store.
    pub store: Store,
    /// The device that networks run on here.
    pub device: Device,
}

/// Works until the input ends, which means that the run has ended or died. Then the process should leave at once and
/// wait for nothing. `open` makes the workplace that the first line asks for.
pub fn serve(
    input: impl BufRead,
    output: impl Write + Send,
    open: impl FnOnce(&Hello) -> Result<Workplace, String>,
    leave: fn() -> !,
) {
    let output = Mutex::new(output);
    let say = |answer: &Answer| {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        // An answer that cannot be encoded ends the worker, and so the run learns of it.
        let Ok(mut line) = serde_json::to_vec(answer) else { leave() };
        line.push(b'\n');
        // The run does not listen any more.
        if output.write_all(&line).and_then(|()| output.flush()).is_err() {
            leave();
        }
    };
    let mut orders = input.lines().map_while(Result::ok).map(|line| serde_json::from_str::<Order>(&line));
    let Some(Ok(Order::Hello(hello))) = orders.next() else {
        return say(&Answer::Refused { why: "a worker is started by a run, which says what to do".to_owned() });
    };
    let workplace = match open(&hello) {
        Ok(workplace) => workplace,
        Err(why) => return say(&Answer::Refused { why }),
    };
    let (cancel, benches) = (Cancel::default(), Benches::default());
    let Workplace { plan, store, device } = &workplace;
    let site = Site { plan, store, device, cancel: &cancel, benches: &benches };
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| receiver.into_iter().map(Answer::from).for_each(|answer| say(&answer)));
        let mut threads = Threads::new(scope, site, Arc::new(move |report| drop(sender.send(report))));
        let mut records = Records::default();
        say(&Answer::Ready);
        for order in orders {
            match order {
                Ok(Order::Do(job)) => {
                    let id = job.id();
                    let started = job.action(plan, store, &mut records).map(|action| threads.start(action));
                    let error = match started {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => error.to_string(),
                        Err(error) => format!("{error:#}"),
                    };
                    say(&Answer::Failed { id, error: ActionError::Failed { error } });
                }
                Ok(Order::Stop) => cancel.request(),
                Ok(Order::Hello(_)) => {}
                Err(_) => leave(), // The run has another version: it sees that the worker ends.
            }
        }
        leave();
    });
}
