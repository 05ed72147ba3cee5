//! The supervisor: a separate, exec'd process, and the only one that has the expected outputs.
//!
//! One thread reads requests from the caller's socket; N workers each drive one sandbox and write results as they
//! finish. The caller may hold torch, CUDA and threads: nothing is ever forked from it. When the socket or the
//! caller's process ends, this returns, the process exits, and the kernel ends the sandboxes with it
//! (`PR_SET_PDEATHSIG`, prctl(2)).

use std::any::Any;
use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use opsd_sandbox::{LevelReport, Options, Sandbox, Sandboxes, use_all_descriptors};

use super::isolation;
use super::protocol::{Reply, Request, receive, receive_tests, send};
use crate::compare::Comparator;
use crate::error::Error;
use crate::grader::{Grader, prepare};
use crate::prepared::Prepared;
use crate::settings::Settings;
use crate::strict::run_lock::RunLock;
use crate::types::case::Solution;

/// How often to check that the caller lives; its socket usually tells at once.
const PARENT_CHECK: Duration = Duration::from_millis(500);

type ReadyProblem = Arc<Result<Prepared, String>>;

struct Job {
    number: u64,
    problem: ReadyProblem,
    solution: Solution,
    cancelled: Arc<AtomicBool>,
}

/// Jobs that are not done yet, each with its flag for cancelling.
type PendingJobs = Arc<Mutex<HashMap<u64, Arc<AtomicBool>>>>;

/// Serve one caller on `stream` until it is gone. Faults are sent to the caller where it still listens, and returned.
pub fn supervise(mut stream: UnixStream) -> Result<(), Error> {
    let Some(settings) = receive::<Settings>(&mut stream)? else {
        return Ok(());
    };
    use_all_descriptors().map_err(|source| Error::Io {
        step: "raising the limit on open files",
        source,
    })?;
    let replies = Arc::new(Mutex::new(clone(&stream)?));
    watch_parent(settings.parent, clone(&stream)?);
    let result = serve(&settings, stream, &replies);
    if let Err(error) = &result {
        // The caller may be gone already.
        let _told = reply(
            &replies,
            &Reply::Fault {
                message: error.to_string(),
            },
        );
    }
    result
}

fn serve(
    settings: &Settings,
    stream: UnixStream,
    replies: &Arc<Mutex<UnixStream>>,
) -> Result<(), Error> {
    let comparator = Comparator::new(&settings.compare).map_err(Error::BadProblem)?;
    let ready = isolation::ready(settings)?;
    let governor = ready.0.governor.clone();
    let served = accept_requests(settings, ready, &comparator, stream, replies);
    // The sandboxes end with this process; the folder of their control group does not.
    let closed = governor.map_or(Ok(()), |governor| governor.close());
    served.and(closed.map_err(|source| Error::Io {
        step: "removing the control group",
        source,
    }))
}

fn accept_requests(
    settings: &Settings,
    (options, rung, first): (Options, LevelReport, Sandbox),
    comparator: &Comparator,
    mut stream: UnixStream,
    replies: &Arc<Mutex<UnixStream>>,
) -> Result<(), Error> {
    let pending = PendingJobs::default();
    let jobs = start_workers(settings, &options, first, replies, &pending)?;
    reply(
        replies,
        &Reply::Ready {
            sandbox_level: rung.level.name().to_owned(),
            sandbox: rung.detail,
            policy: format!("{}overrides {:?}\n", rung.policy, settings.limits),
        },
    )?;
    let mut problems: HashMap<u64, ReadyProblem> = HashMap::new();
    while let Some(request) = receive::<Request>(&mut stream)? {
        match request {
            Request::PutProblem {
                key,
                mut problem,
                sizes,
            } => {
                let Some(tests) = receive_tests(&mut stream, &sizes)? else {
                    break;
                };
                problem.tests = tests;
                let prepared =
                    prepare(problem, settings, comparator).map_err(|error| error.to_string());
                problems.insert(key, Arc::new(prepared));
            }
            Request::DropProblem { key } => {
                problems.remove(&key);
            }
            Request::Job { job, key, solution } => {
                let problem = problems
                    .get(&key)
                    .ok_or(Error::UnknownProblem { job, key })?;
                let cancelled = Arc::new(AtomicBool::new(false));
                lock(&pending).insert(job, Arc::clone(&cancelled));
                let job = Job {
                    number: job,
                    problem: Arc::clone(problem),
                    solution,
                    cancelled,
                };
                if jobs.send(job).is_err() {
                    return Err(Error::Workers);
                }
            }
            Request::Cancel { jobs } => {
                let mut pending = lock(&pending);
                for job in jobs {
                    if let Some(cancelled) = pending.remove(&job) {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Starts all workers, each with its sandbox up; the first worker takes the one that was proved. Fails where one of
/// them fails to start.
fn start_workers(
    settings: &Settings,
    options: &Options,
    first: Sandbox,
    replies: &Arc<Mutex<UnixStream>>,
    pending: &PendingJobs,
) -> Result<Sender<Job>, Error> {
    let (jobs, queue) = channel();
    let queue = Arc::new(Mutex::new(queue));
    let run_lock = Arc::new(RunLock::default());
    let (started, starts) = channel();
    let mut first = Some(first);
    for number in 0..settings.workers {
        let (settings, queue) = (settings.clone(), Arc::clone(&queue));
        let (options, first) = (options.clone(), first.take());
        let (replies, started) = (Arc::clone(replies), started.clone());
        let run_lock = Arc::clone(&run_lock);
        let pending = Arc::clone(pending);
        thread::Builder::new()
            .name(format!("grade-{number}"))
            .spawn(move || {
                let for_checkers = options.clone();
                let sandboxes = match first {
                    Some(sandbox) => Ok(Sandboxes::adopt(options, sandbox)),
                    None => Sandboxes::start(options),
                };
                match sandboxes {
                    Ok(sandboxes) => {
                        let _seen = started.send(Ok(()));
                        let grader = Grader::new(sandboxes, for_checkers, &settings, run_lock);
                        work(grader, &queue, &replies, &pending);
                    }
                    Err(error) => {
                        let _seen = started.send(Err(error));
                    }
                }
            })
            .map_err(|source| Error::Io {
                step: "starting a worker thread",
                source,
            })?;
    }
    drop(started);
    for _ in 0..settings.workers {
        starts.recv().map_err(|_| Error::Workers)??;
    }
    Ok(jobs)
}

/// A worker's loop. Sandboxes are started on the thread that drives them, so that they die with it (the first one dies
/// with the reading thread, which is this process's first).
fn work(
    mut grader: Grader,
    queue: &Mutex<Receiver<Job>>,
    replies: &Mutex<UnixStream>,
    pending: &PendingJobs,
) {
    loop {
        let job = lock(queue).recv();
        let Ok(Job {
            number: job,
            problem,
            solution,
            cancelled,
        }) = job
        else {
            return;
        };
        if cancelled.load(Ordering::Relaxed) {
            continue;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| match problem.as_ref() {
            Ok(problem) => Reply::Done {
                job,
                grade: Box::new(grader.grade(problem, &solution, &cancelled)),
            },
            Err(message) => Reply::Refused {
                job,
                message: message.clone(),
            },
        }));
        // A panic is our bug: report it and end, rather than leave the caller waiting for this job.
        let answer = answer.unwrap_or_else(|panic| Reply::Fault {
            message: panic_text(panic.as_ref()),
        });
        if lock(pending).remove(&job).is_none() && !matches!(answer, Reply::Fault { .. }) {
            continue; // cancelled meanwhile
        }
        if reply(replies, &answer).is_err() {
            return; // the caller is gone; the reading thread sees it too
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    format!(
        "panic in a grading thread: {}",
        text.unwrap_or("no message")
    )
}

fn reply(replies: &Mutex<UnixStream>, message: &Reply) -> Result<(), Error> {
    send(&mut *lock(replies), message)
}

/// A panic elsewhere ends the supervisor by itself; the data behind the lock is complete.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clone(stream: &UnixStream) -> Result<UnixStream, Error> {
    stream.try_clone().map_err(|source| Error::Io {
        step: "cloning the caller's socket",
        source,
    })
}

/// A process that the caller forked may keep the socket open after the caller died: so check the parent itself too.
fn watch_parent(parent: u32, stream: UnixStream) {
    thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            thread::sleep(PARENT_CHECK);
        }
        let _ended = stream.shutdown(Shutdown::Both); // the reading thread sees the end of the stream
    });
}
