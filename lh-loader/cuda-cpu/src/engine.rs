//! Streams: work that is done in order within one, and at one time among several.
//!
//! Each stream numbers its tasks. That a task comes after another, of whatever stream, is a pair of a stream and a number:
//! events are that, and so is what the legacy default stream is to the others, which wait for what it was given before, as it
//! waits for what they were.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(u64);

/// The legacy default stream.
pub const LEGACY: Stream = Stream(0);

/// A task of a stream: everything up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    stream: Stream,
    number: u64,
}

/// What is done in a stream.
pub type Task = Box<dyn FnOnce() + Send>;

struct Queue {
    /// It and the legacy stream wait for each other.
    blocking: bool,
    /// Lower ones first.
    priority: i32,
    tasks: VecDeque<(Task, Vec<Mark>)>,
    running: bool,
    given: u64,
    done: u64,
    /// The application has destroyed it; it ends with its last task.
    ending: bool,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<Stream, Queue>,
    next: u64,
    ending: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Threads that do the streams' tasks.
pub struct Engine {
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Stream {
    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl Queue {
    fn new(blocking: bool, priority: i32) -> Queue {
        Queue {
            blocking,
            priority,
            tasks: VecDeque::new(),
            running: false,
            given: 0,
            done: 0,
            ending: false,
        }
    }
}

impl State {
    /// A stream that is gone has done everything.
    fn is_done(&self, mark: &Mark) -> bool {
        self.streams
            .get(&mark.stream)
            .is_none_or(|q| q.done >= mark.number)
    }

    fn last(&self, stream: Stream) -> Mark {
        let number = self.streams.get(&stream).map_or(0, |q| q.given);
        Mark { stream, number }
    }

    /// The stream whose turn it is.
    fn ready(&self) -> Option<Stream> {
        let can = |q: &Queue| {
            !q.running
                && q.tasks
                    .front()
                    .is_some_and(|(_, after)| after.iter().all(|m| self.is_done(m)))
        };
        let ready = self.streams.iter().filter(|(_, q)| can(q));
        ready.min_by_key(|(_, q)| q.priority).map(|(s, _)| *s)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(|e| e.into_inner())
    }

    /// Does tasks until the engine ends.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            let Some(stream) = state.ready() else {
                if state.ending {
                    return;
                }
                state = self.wait(state);
                continue;
            };
            let Some(queue) = state.streams.get_mut(&stream) else {
                continue;
            };
            let Some((task, _)) = queue.tasks.pop_front() else {
                continue;
            };
            queue.running = true;
            drop(state);
            task();
            state = self.lock();
            if let Some(queue) = state.streams.get_mut(&stream) {
                queue.running = false;
                queue.done += 1;
                if queue.ending && queue.tasks.is_empty() {
                    state.streams.remove(&stream);
                }
            }
            self.changed.notify_all();
        }
    }
}

impl Engine {
    /// An engine of so many threads.
    pub fn new(threads: usize) -> Engine {
        let shared = Arc::new(Shared::default());
        shared.lock().streams.insert(LEGACY, Queue::new(true, 0));
        let worker = |_| {
            let shared = shared.clone();
            thread::spawn(move || shared.work())
        };
        let workers = (0..threads.max(1)).map(worker).collect();
        Engine { shared, workers }
    }

    /// Makes a stream. One that is `blocking` and the legacy stream wait for each other.
    pub fn create(&self, blocking: bool, priority: i32) -> Stream {
        let mut state = self.shared.lock();
        state.next += 1;
        let stream = Stream(state.next);
        state.streams.insert(stream, Queue::new(blocking, priority));
        stream
    }

    /// Ends a stream, when its tasks are done.
    pub fn destroy(&self, stream: Stream) {
        let mut state = self.shared.lock();
        let Some(queue) = state.streams.get_mut(&stream) else {
            return;
        };
        queue.ending = true;
        if queue.tasks.is_empty() && !queue.running {
            state.streams.remove(&stream);
        }
    }

    /// Gives a stream a task, which also comes after those of `after`. `None`: there is no such stream.
    pub fn give(&self, stream: Stream, after: &[Mark], task: Task) -> Option<Mark> {
        let mut state = self.shared.lock();
        let blocking = state.streams.get(&stream).filter(|q| !q.ending)?.blocking;
        let mut after = after.to_vec();
        if stream == LEGACY {
            let others = state
                .streams
                .iter()
                .filter(|(s, q)| q.blocking && **s != LEGACY);
            let marks: Vec<_> = others
                .map(|(s, q)| Mark {
                    stream: *s,
                    number: q.given,
                })
                .collect();
            after.extend(marks);
        } else if blocking {
            after.push(state.last(LEGACY));
        }
        after.retain(|m| !state.is_done(m));
        let queue = state.streams.get_mut(&stream)?;
        queue.tasks.push_back((task, after));
        queue.given += 1;
        let number = queue.given;
        self.shared.changed.notify_all();
        Some(Mark { stream, number })
    }

    /// All that a stream has been given; of the legacy stream, also what those have that it would wait for.
    pub fn marks_of(&self, stream: Stream) -> Vec<Mark> {
        let state = self.shared.lock();
        let counts = |(s, q): &(&Stream, &Queue)| **s == stream || (stream == LEGACY && q.blocking);
        let mark = |(s, q): (&Stream, &Queue)| Mark {
            stream: *s,
            number: q.given,
        };
        state.streams.iter().filter(counts).map(mark).collect()
    }

    /// All that every stream has been given.
    pub fn marks(&self) -> Vec<Mark> {
        let state = self.shared.lock();
        state
            .streams
            .iter()
            .map(|(s, q)| Mark {
                stream: *s,
                number: q.given,
            })
            .collect()
    }

    /// Is it done?
    pub fn is_done(&self, mark: Mark) -> bool {
        self.shared.lock().is_done(&mark)
    }

    /// Waits until it is.
    pub fn wait(&self, mark: Mark) {
        let mut state = self.shared.lock();
        while !state.is_done(&mark) {
            state = self.shared.wait(state);
        }
    }
}

impl Drop for Engine {
    /// Lets the tasks come to their ends.
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // A task that panicked has said so.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A task that waits until it is let go, and one that notes its name.
    struct Log(Arc<Mutex<Vec<&'static str>>>);

    impl Log {
        fn note(&self, name: &'static str) -> Task {
            let log = self.0.clone();
            Box::new(move || log.lock().unwrap().push(name))
        }

        fn held(&self, name: &'static str) -> (Task, mpsc::Sender<()>) {
            let (go, wait) = mpsc::channel();
            let log = self.0.clone();
            let task = Box::new(move || {
                wait.recv().unwrap();
                log.lock().unwrap().push(name);
            });
            (task, go)
        }

        fn all(&self) -> Vec<&'static str> {
            self.0.lock().unwrap().clone()
        }
    }

    #[test]
    fn a_stream_keeps_its_order_and_others_go_on() {
        let (engine, log) = (Engine::new(2), Log(Arc::default()));
        let (a, b) = (engine.create(false, 0), engine.create(false, 0));
        let (first, go) = log.held("a1");
        engine.give(a, &[], first).unwrap();
        let last = engine.give(a, &[], log.note("a2")).unwrap();
        let other = engine.give(b, &[], log.note("b1")).unwrap();
        engine.wait(other);
        assert!(!engine.is_done(last));
        assert_eq!(log.all(), ["b1"]);
        go.send(()).unwrap();
        engine.wait(last);
        assert_eq!(log.all(), ["b1", "a1", "a2"]);
    }

    #[test]
    fn an_event_orders_two_streams() {
        let (engine, log) = (Engine::new(2), Log(Arc::default()));
        let (a, b) = (engine.create(false, 0), engine.create(false, 0));
        let (first, go) = log.held("a1");
        let event = engine.give(a, &[], first).unwrap();
        let after = engine.give(b, &[event], log.note("b1")).unwrap();
        assert!(!engine.is_done(after));
        go.send(()).unwrap();
        engine.wait(after);
        assert_eq!(log.all(), ["a1", "b1"]);
    }

    #[test]
    fn the_legacy_stream_waits_and_is_waited_for() {
        let (engine, log) = (Engine::new(3), Log(Arc::default()));
        let (a, b, free) = (
            engine.create(true, 0),
            engine.create(true, 0),
            engine.create(false, 0),
        );
        let (first, go) = log.held("a");
        engine.give(a, &[], first).unwrap();
        engine.give(LEGACY, &[], log.note("legacy")).unwrap();
        let last = engine.give(b, &[], log.note("b")).unwrap();
        let free = engine.give(free, &[], log.note("free")).unwrap();
        engine.wait(free);
        assert_eq!(log.all(), ["free"]);
        go.send(()).unwrap();
        engine.wait(last);
        assert_eq!(log.all(), ["free", "a", "legacy", "b"]);
    }

    #[test]
    fn a_destroyed_stream_ends_its_work() {
        let (engine, log) = (Engine::new(1), Log(Arc::default()));
        let a = engine.create(false, 0);
        let (first, go) = log.held("1");
        engine.give(a, &[], first).unwrap();
        let last = engine.give(a, &[], log.note("2")).unwrap();
        engine.destroy(a);
        assert!(engine.give(a, &[], log.note("3")).is_none());
        go.send(()).unwrap();
        engine.wait(last);
        drop(engine);
        assert_eq!(log.all(), ["1", "2"]);
    }

    #[test]
    fn many_streams_at_once() {
        let engine = Engine::new(4);
        let sums: Vec<_> = (0..200).map(|_| Arc::new(Mutex::new(0u64))).collect();
        let streams: Vec<_> = sums.iter().map(|_| engine.create(false, 0)).collect();
        for i in 0..50u64 {
            for (s, sum) in streams.iter().zip(&sums) {
                let sum = sum.clone();
                // The order shows in the result.
                let task = Box::new(move || {
                    let mut sum = sum.lock().unwrap();
                    *sum = *sum * 3 % 1009 + i;
                });
                engine.give(*s, &[], task);
            }
        }
        engine.marks().into_iter().for_each(|m| engine.wait(m));
        let wanted = (0..50).fold(0, |sum, i| sum * 3 % 1009 + i);
        assert!(sums.iter().all(|s| *s.lock().unwrap() == wanted));
    }
}
