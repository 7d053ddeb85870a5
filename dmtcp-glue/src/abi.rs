//! DMTCP's plugin interface, from its public header (`dmtcp.h`, plugin API "3" and "4").
//!
//! Only types and numbers: functions are looked up at run time, so that a library with these also loads
//! where there is no DMTCP.

use core::ffi::{c_char, c_int, c_uint, c_void};

/// Exit code of a process that DMTCP or a plugin gives up, unless `DMTCP_FAIL_RC` says another.
pub const FAIL_CODE: c_int = 99;

/// The plugin API of DMTCP 4.
pub const API_3: &core::ffi::CStr = c"3";
/// The plugin API of DMTCP 5.
pub const API_4: &core::ffi::CStr = c"4";

/// A function that only DMTCP 4 has, and the one that replaced it in DMTCP 5: they tell the API's version.
pub const ONLY_IN_3: &core::ffi::CStr = c"dmtcp_real_to_virtual_pid";
/// See [`ONLY_IN_3`].
pub const ONLY_IN_4: &core::ffi::CStr = c"dmtcp_pid_real_to_virtual";

/// What DMTCP tells its plugins (`DmtcpEvent_t`), in the header's order.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    Init,
    Exit,
    PreExec,
    PostExec,
    AtforkPrepare,
    AtforkParent,
    AtforkChild,
    AtforkFailed,
    VforkPrepare,
    VforkParent,
    VforkChild,
    VforkFailed,
    PthreadStart,
    PthreadExit,
    PthreadReturn,
    Presuspend,
    Precheckpoint,
    Resume,
    Restart,
    Running,
    ThreadResume,
    OpenFd,
    ReopenFd,
    CloseFd,
    DupFd,
    VirtualToRealPath,
    RealToVirtualPath,
}

impl Event {
    /// The event with this number.
    pub fn from_number(number: c_uint) -> Option<Event> {
        // SAFETY: the numbers up to the last one's are all taken.
        (number <= Event::RealToVirtualPath as c_uint)
            .then(|| unsafe { core::mem::transmute::<c_uint, Event>(number) })
    }
}

/// `preExec` of an event's data.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PreExec {
    /// Where plugins store what the new program is to know.
    pub serialization_fd: c_int,
    /// The program.
    pub filename: *mut c_char,
    /// Room of `argv`.
    pub max_args: usize,
    /// Its arguments.
    pub argv: *mut *const c_char,
    /// Room of `envp`.
    pub max_env: usize,
    /// Its environment.
    pub envp: *mut *const c_char,
}

/// `openFd` of an event's data.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct OpenFd {
    /// The descriptor.
    pub fd: c_int,
    /// The path as given.
    pub path: *const c_char,
    /// `open`'s flags.
    pub flags: c_int,
    /// `open`'s mode.
    pub mode: c_uint,
}

/// An event's data (`DmtcpEventData_t`).
#[derive(Clone, Copy)]
#[repr(C)]
pub union EventData {
    /// Of [`Event::PreExec`].
    pub pre_exec: PreExec,
    /// Of [`Event::OpenFd`].
    pub open_fd: OpenFd,
    /// The descriptor of [`Event::PostExec`] and [`Event::CloseFd`].
    pub fd: c_int,
    /// Old and new descriptor of [`Event::DupFd`].
    pub dup_fd: [c_int; 2],
    /// Of the path events.
    pub path: *mut c_char,
}

/// A plugin's event function.
pub type Hook = unsafe extern "C" fn(event: c_uint, data: *mut EventData);

/// What a plugin registers (`DmtcpPluginDescriptor_t`).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Descriptor {
    /// [`API_3`] or [`API_4`]: DMTCP refuses what is not its own.
    pub api_version: *const c_char,
    /// The DMTCP version that the plugin was written for.
    pub dmtcp_version: *const c_char,
    /// Name.
    pub name: *const c_char,
    /// Author.
    pub author: *const c_char,
    /// The author's address.
    pub email: *const c_char,
    /// One line.
    pub description: *const c_char,
    /// Called for every event.
    pub hook: Option<Hook>,
}

/// `dmtcp_register_plugin`.
pub type Register = unsafe extern "C" fn(Descriptor);

/// A region of the process's memory (`ProcMapsArea`), as `dmtcp_skip_memory_region_ckpting` sees it and as it
/// stands before the region's bytes in an image.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Length.
    pub size: u64,
    /// Offset in the file.
    pub offset: u64,
    /// `PROT_*`.
    pub prot: u64,
    /// `MAP_*`.
    pub flags: u64,
    /// The file's device.
    pub device: [u64; 2],
    /// The file's inode.
    pub inode: u64,
    /// How much of it the file backs.
    pub file_size: u64,
    /// DMTCP's marks of zero pages.
    pub properties: u64,
    /// Path or pseudo-path, NUL terminated.
    pub name: [c_char; 1024],
    /// DMTCP keeps areas in pages of their own.
    pub rest: [u8; 2984],
}

/// A C++ string as DMTCP's functions take it: libstdc++'s `basic_string` with an allocator without data.
#[repr(C)]
pub struct CxxString {
    /// The characters.
    pub data: *const c_char,
    /// How many.
    pub len: usize,
    /// Short strings lie here.
    pub short: [u8; 16],
}

/// `dmtcp::kvdb::get` and `dmtcp::kvdb::set`: 0 is success.
pub type KvGet = unsafe extern "C" fn(*const CxxString, *const CxxString, *mut CxxString) -> c_int;
/// See [`KvGet`]; the last argument, the old value, may be null.
pub type KvSet = unsafe extern "C" fn(
    *const CxxString,
    *const CxxString,
    *const CxxString,
    *mut c_void,
) -> c_int;

/// Symbol of [`KvGet`].
pub const KV_GET: &core::ffi::CStr = c"_ZN5dmtcp4kvdb3getERKNSt7__cxx1112basic_stringIcSt11char_traitsIcENS_10DmtcpAllocIcEEEES9_PS7_";
/// Symbol of [`KvSet`].
pub const KV_SET: &core::ffi::CStr = c"_ZN5dmtcp4kvdb3setERKNSt7__cxx1112basic_stringIcSt11char_traitsIcENS_10DmtcpAllocIcEEEES9_S9_PS7_";

/// The computation, and the number of its last checkpoint (`DmtcpUniqueProcessId`).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ComputationId {
    /// The first process's host and time.
    pub host_and_time: [u64; 2],
    /// And its id.
    pub pid: c_int,
    /// How many checkpoints have been asked for.
    pub generation: u32,
}

/// `dmtcp_get_computation_id`.
pub type GetComputationId = unsafe extern "C" fn() -> ComputationId;
/// Symbol of [`GetComputationId`].
pub const COMPUTATION_ID: &core::ffi::CStr = c"dmtcp_get_computation_id";

/// Symbol of the function by which DMTCP asks itself for its state (`dmtcp::WorkerState::currentState`).
pub const CURRENT_STATE: &core::ffi::CStr = c"_ZN5dmtcp11WorkerState12currentStateEv";
/// Symbol of the function by which it takes the lock that keeps a checkpoint out for itself alone
/// (`dmtcp::ThreadSync::wrapperExecutionLockLockExcl`).
pub const LOCK_EXCLUSIVE: &core::ffi::CStr =
    c"_ZN5dmtcp10ThreadSync28wrapperExecutionLockLockExclEv";
/// Asks the coordinator for the number of processes, and whether all run.
pub const STATUS: &core::ffi::CStr = c"dmtcp_get_coordinator_status";
/// The connection to the coordinator, and that of the program's threads.
pub const COORDINATOR_FD: c_int = 821;
/// See [`COORDINATOR_FD`].
pub const NAME_SERVICE_FD: c_int = 840;
/// DMTCP starts or ends.
pub const STATE_UNKNOWN: u32 = 0;
/// The program runs.
pub const STATE_RUNNING: u32 = 1;
/// A checkpoint is wanted, and the threads have not been stopped yet.
pub const STATE_PRESUSPEND: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    // The numbers were printed by a C++ program that includes the published headers.

    #[test]
    fn events_have_the_headers_numbers() {
        let known = [
            (Event::Init, 0),
            (Event::PreExec, 2),
            (Event::AtforkChild, 6),
            (Event::VforkChild, 10),
            (Event::Presuspend, 15),
            (Event::Precheckpoint, 16),
            (Event::Resume, 17),
            (Event::Restart, 18),
            (Event::Running, 19),
            (Event::ThreadResume, 20),
            (Event::DupFd, 24),
            (Event::RealToVirtualPath, 26),
        ];
        for (event, number) in known {
            assert_eq!(event as u32, number);
            assert_eq!(Event::from_number(number), Some(event));
        }
        assert_eq!(Event::from_number(27), None);
    }

    #[test]
    fn structures_have_the_headers_layout() {
        assert_eq!(size_of::<Descriptor>(), 56);
        assert_eq!(offset_of!(Descriptor, hook), 48);
        assert_eq!(size_of::<EventData>(), 48);
        assert_eq!(offset_of!(PreExec, filename), 8);
        assert_eq!(offset_of!(PreExec, envp), 40);
        assert_eq!(offset_of!(OpenFd, mode), 20);
        assert_eq!(size_of::<Area>(), 4096);
        assert_eq!(offset_of!(Area, inode), 64);
        assert_eq!(offset_of!(Area, properties), 80);
        assert_eq!(offset_of!(Area, name), 88);
        assert_eq!(size_of::<CxxString>(), 32);
        assert_eq!(size_of::<ComputationId>(), 24);
        assert_eq!(offset_of!(ComputationId, generation), 20);
    }
}
