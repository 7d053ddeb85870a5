//! What is out of reach: processes that are added to a job, and connections between jobs. A checkpoint could not hold them.
//! These functions fail, with their name and a reason; the application's error handler decides what follows.

use super::abi::*;
use super::front::{finish, put};

const ERR_NAME: i32 = 33;
const ERR_PORT: i32 = 38;
const ERR_SERVICE: i32 = 41;
const ERR_SPAWN: i32 = 42;

const SPAWN: &str =
    "a job keeps the processes that it was started with, for a checkpoint is of those";
const CONNECT: &str = "jobs can't be connected, for a checkpoint is of one job";

fn refuse(name: &str, why: &str, comm: i32, code: i32) -> i32 {
    crate::streams::flush();
    eprintln!("splitproc: MPI_{name} failed: {why}");
    finish(comm, Ok(code))
}

pub unsafe fn comm_spawn(
    _command: usize,
    _argv: usize,
    _n: i32,
    _info: i32,
    _root: i32,
    comm: i32,
    _out: usize,
    _codes: usize,
) -> i32 {
    refuse("Comm_spawn", SPAWN, comm, ERR_SPAWN)
}

pub unsafe fn comm_spawn_multiple(
    _n: i32,
    _commands: usize,
    _argvs: usize,
    _ns: usize,
    _infos: usize,
    _root: i32,
    comm: i32,
    _out: usize,
    _codes: usize,
) -> i32 {
    refuse("Comm_spawn_multiple", SPAWN, comm, ERR_SPAWN)
}

pub unsafe fn comm_get_parent(out: usize) -> i32 {
    put(out, COMM_NULL);
    SUCCESS
}

pub unsafe fn comm_accept(_port: usize, _info: i32, _root: i32, comm: i32, _out: usize) -> i32 {
    refuse("Comm_accept", CONNECT, comm, ERR_PORT)
}

pub unsafe fn comm_connect(_port: usize, _info: i32, _root: i32, comm: i32, _out: usize) -> i32 {
    refuse("Comm_connect", CONNECT, comm, ERR_PORT)
}

pub unsafe fn comm_join(_socket: i32, _out: usize) -> i32 {
    refuse("Comm_join", CONNECT, COMM_SELF, ERR_OTHER)
}

pub unsafe fn open_port(_info: i32, _name: usize) -> i32 {
    refuse("Open_port", CONNECT, COMM_SELF, ERR_PORT)
}

pub unsafe fn close_port(_name: usize) -> i32 {
    refuse("Close_port", CONNECT, COMM_SELF, ERR_PORT)
}

pub unsafe fn publish_name(_service: usize, _info: i32, _port: usize) -> i32 {
    refuse("Publish_name", CONNECT, COMM_SELF, ERR_SERVICE)
}

pub unsafe fn unpublish_name(_service: usize, _info: i32, _port: usize) -> i32 {
    refuse("Unpublish_name", CONNECT, COMM_SELF, ERR_SERVICE)
}

pub unsafe fn lookup_name(_service: usize, _info: i32, _port: usize) -> i32 {
    refuse("Lookup_name", CONNECT, COMM_SELF, ERR_NAME)
}
