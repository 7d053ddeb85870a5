//! Hosts that talk to each other, in one process.

use super::super::coordinator::Failed;
use super::super::frame::Key;
use super::*;
use std::time::Instant;

fn job() -> (Arc<Job>, mpsc::Receiver<Work>) {
    let (work, queue) = mpsc::channel();
    (Job::new(true, false, Duration::from_secs(1), work), queue)
}

/// `size` hosts in this process, connected but for the ranks in `absent`.
fn ranks(size: u32, absent: &[u32]) -> Vec<(Arc<Job>, mpsc::Receiver<Work>)> {
    let all: Vec<_> = (0..size).map(|_| job()).collect();
    all[0].0.join(0, size).unwrap();
    let contact = listen(&all[0].0, false).unwrap();
    for (rank, (job, _)) in (0..).zip(&all).skip(1) {
        if !absent.contains(&rank) {
            connect(job, rank, size, &contact).unwrap();
            job.join(rank, size).unwrap();
        }
    }
    if absent.is_empty() {
        assert_eq!(all[0].0.obstacle(Duration::from_secs(5)), None);
    }
    all
}

#[test]
fn every_rank_gets_everybodys_bytes() {
    let all = ranks(4, &[]);
    let threads = (0_u8..).zip(&all).map(|(rank, (job, _))| {
        let job = Arc::clone(job);
        std::thread::spawn(move || {
            (0..50_u8)
                .map(|i| job.exchange(vec![rank, i]).unwrap())
                .collect::<Vec<_>>()
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        for (i, parts) in (0..).zip(thread.join().unwrap()) {
            assert_eq!(parts, [[0, i], [1, i], [2, i], [3, i]]);
        }
    }
}

#[test]
fn a_rank_may_be_quicker_than_rank_0() {
    let (first, _queue) = job();
    let contact = listen(&first, false).unwrap();
    let (second, _other) = job();
    connect(&second, 1, 2, &contact).unwrap();
    second.join(1, 2).unwrap();
    let ask = std::thread::spawn(move || second.exchange(b"second".to_vec()));
    // Its part is under way, and has time to arrive.
    std::thread::sleep(Duration::from_millis(200));
    first.join(0, 2).unwrap();
    let all = vec![b"first".to_vec(), b"second".to_vec()];
    assert_eq!(first.exchange(b"first".to_vec()), Ok(all.clone()));
    assert_eq!(ask.join().unwrap(), Ok(all));
}

#[test]
fn a_rank_that_does_not_come_is_named_and_the_next_attempt_works() {
    let all = ranks(3, &[]);
    let waiting: Vec<_> = all[..2]
        .iter()
        .map(|(job, _)| {
            let job = Arc::clone(job);
            std::thread::spawn(move || job.exchange(b"x".to_vec()))
        })
        .collect();
    for thread in waiting {
        let failed = thread.join().unwrap().unwrap_err();
        assert_eq!(
            failed,
            Failed::new(libc::ETIMEDOUT, "no answer from rank 2")
        );
    }
    // The late rank learns the same at once.
    assert_eq!(
        all[2].0.exchange(Vec::new()).unwrap_err().errno,
        libc::ETIMEDOUT
    );
    let order = all[0].0.announce(1, false);
    let threads: Vec<_> = all
        .into_iter()
        .enumerate()
        .map(|(rank, (job, queue))| {
            let order = order.clone();
            std::thread::spawn(move || {
                if rank > 0 {
                    assert!(matches!(queue.recv().unwrap(), Work::Order(o) if o == order));
                    assert!(job.begin(order.attempt));
                }
                let key = Key {
                    attempt: order.attempt,
                    phase: 1,
                    seq: 0,
                };
                job.gather(key, vec![rank as u8], Duration::from_secs(10))
                    .unwrap()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), [[0], [1], [2]]);
    }
}

#[test]
fn a_missing_rank_is_an_obstacle() {
    let all = ranks(3, &[2]);
    let obstacle = all[0].0.obstacle(Duration::from_millis(10));
    let obstacle = obstacle.unwrap();
    assert!(obstacle.starts_with("rank 2: not connected"), "{obstacle}");
    let (early, _queue) = job();
    let obstacle = early.obstacle(Duration::from_secs(10)).unwrap();
    assert!(obstacle.contains("MPI_Init"), "{obstacle}");
}

#[test]
fn a_rank_that_is_about_to_connect_is_waited_for() {
    let (zero, _queue) = job();
    zero.join(0, 2).unwrap();
    let contact = listen(&zero, false).unwrap();
    let (say, said) = mpsc::channel();
    let waiting = Arc::clone(&zero);
    std::thread::spawn(move || say.send(waiting.obstacle(Duration::from_secs(60))));
    let early = said.recv_timeout(Duration::from_millis(200));
    assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
    let (one, _other) = job();
    connect(&one, 1, 2, &contact).unwrap();
    assert_eq!(said.recv_timeout(Duration::from_secs(10)), Ok(None));
}

#[test]
fn a_lost_connection_fails_what_is_under_way() {
    let (zero, _queue) = job();
    zero.join(0, 2).unwrap();
    let contact = listen(&zero, false).unwrap();
    let mut stream = TcpStream::connect(contact.addresses[0]).unwrap();
    let hello = format!(
        "{{\"token\":\"{}\",\"rank\":1,\"size\":2}}\n",
        contact.token
    );
    stream.write_all(hello.as_bytes()).unwrap();
    assert_eq!(zero.obstacle(Duration::from_secs(10)), None);
    let job = Arc::clone(&zero);
    let waiting = std::thread::spawn(move || job.exchange(Vec::new()));
    std::thread::sleep(Duration::from_millis(50));
    drop(stream);
    let failed = waiting.join().unwrap().unwrap_err();
    assert!(
        failed.message.contains("connection to rank 1 is lost"),
        "{failed:?}"
    );
}

#[test]
fn strangers_are_turned_away_and_requests_are_answered() {
    let (work, queue) = mpsc::channel();
    let job = Job::new(false, true, Duration::from_secs(1), work);
    let contact = listen(&job, false).unwrap();
    std::thread::spawn(move || {
        while let Ok(Work::Request { stop, reply }) = queue.recv() {
            let outcome = Outcome {
                ok: !stop,
                generation: Some(7),
                ..Outcome::default()
            };
            reply.unwrap().send(Answer::Done(outcome)).unwrap();
        }
    });
    let ask = |lines: &str| {
        let mut stream = TcpStream::connect(contact.addresses[0]).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    };
    let token = &contact.token;
    assert!(ask("{\"token\":\"00\",\"checkpoint\":{}}\n").contains("authentication failed"));
    assert!(ask("nonsense\n").contains("authentication failed"));
    let reply = ask(&format!(
        "{{\"token\":\"{token}\",\"checkpoint\":{{\"stop\":false}}}}\n"
    ));
    assert_eq!(reply, "{\"ok\":true,\"generation\":7}\n");
    let reply = ask(&format!(
        "{{\"token\":\"{token}\"}}\n{{\"status\":{{}}}}\n{{\"x\":1}}\n"
    ));
    assert!(
        reply.starts_with('{') && reply.contains("\"ranks\":1"),
        "{reply}"
    );
    assert!(reply.contains("not a request"));
    assert_eq!(token.len(), 64);
    assert!(!same("ab", "ac") && !same("a", "ab") && same("ab", "ab"));
}

#[test]
fn a_refusal_ends_the_attempt_for_all_at_once() {
    let all = ranks(3, &[]);
    let order = all[0].0.announce(1, false);
    let key = |phase| Key {
        attempt: order.attempt,
        phase,
        seq: 0,
    };
    for (job, queue) in &all[1..] {
        assert!(matches!(queue.recv().unwrap(), Work::Order(o) if o == order));
        assert!(job.begin(order.attempt));
    }
    // Ranks 0 and 2 are in an exchange of the plugin's, rank 1 votes no.
    let waiting: Vec<_> = [0, 2]
        .map(|rank| Arc::clone(&all[rank as usize].0))
        .into_iter()
        .map(|job| std::thread::spawn(move || job.exchange(Vec::new())))
        .collect();
    let no = Failed::new(libc::ECANCELED, "rank 1: a TCP socket");
    all[1].0.refuse(key(1), &no);
    for thread in waiting {
        assert_eq!(thread.join().unwrap().unwrap_err().message, no.message);
    }
    let late = all[2].0.gather(key(1), Vec::new(), Duration::from_secs(60));
    assert_eq!(late.unwrap_err().message, no.message);
}

#[test]
fn a_rank_that_works_is_waited_for() {
    let all = ranks(2, &[]);
    let order = all[0].0.announce(1, false);
    let key = Key {
        attempt: order.attempt,
        phase: 3,
        seq: 0,
    };
    let zero = Arc::clone(&all[0].0);
    let waiting = std::thread::spawn(move || zero.gather(key, vec![0], Duration::from_secs(1)));
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        all[1].0.alive(key);
    }
    all[1]
        .0
        .gather(key, vec![1], Duration::from_secs(1))
        .unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), [[0], [1]]);
}

#[test]
fn a_lost_connection_is_made_anew_and_blocks_nothing() {
    let all = ranks(2, &[]);
    let upstream = all[1].0.lock().upstream.as_ref().unwrap().try_clone();
    upstream
        .unwrap()
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    // Lost, then back.
    let obstacle = || all[0].0.obstacle(Duration::ZERO);
    while all[0].0.lock().connections < 2 || obstacle().is_some() {
        assert!(Instant::now() < until, "{:?}", obstacle());
        std::thread::sleep(Duration::from_millis(5));
    }
    let one = Arc::clone(&all[1].0);
    let part = std::thread::spawn(move || one.exchange(b"b".to_vec()));
    assert_eq!(all[0].0.exchange(b"a".to_vec()).unwrap(), [b"a", b"b"]);
    part.join().unwrap().unwrap();
}
