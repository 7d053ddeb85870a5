//! What is alive: objects with virtual handles, and the calls that made them.
//!
//! A handle is the address of an [`Object`] in memory of ours; objects are used again, so that an old handle is found to be
//! no object of its kind, or another one, as with the real driver. Texture and surface objects are the exception: kernels
//! get them as plain arguments, so that the application has the lower half's number, which a restart checks.

use super::arena::Arena;
use super::device::Device;
use super::ghosts::{self, Ghost, Ghosts};
use super::globals::Global;
use super::host::Pinned;
use super::managed::Managed;
use super::record::Record;
use super::runtime::register::Fatbins;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Mutex, MutexGuard};

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Kind {
    Context = 1,
    Stream,
    Event,
    Module,
    Function,
    Library,
    Kernel,
    Array,
    Mipmapped,
    Texture,
    Surface,
    Pool,
    Graph,
    Node,
    Exec,
}

impl Kind {
    /// Is it in no context, wherever it was made?
    fn outlives_contexts(self) -> bool {
        matches!(self, Kind::Library | Kind::Kernel | Kind::Pool)
    }

    /// Is it made again by more than one call?
    pub fn has_own_replay(self) -> bool {
        use Kind::*;
        matches!(self, Context | Pool | Graph | Node | Exec)
    }
}

/// What a handle points to.
#[repr(C, align(64))]
pub struct Object {
    /// A [`Kind`]; 0: free.
    kind: AtomicU32,
    /// The lower half's handle.
    pub lower: AtomicU64,
    /// Its place in the order of making.
    pub serial: AtomicU64,
    /// The context that it was made in; 0: none.
    context: AtomicU64,
    /// Of a context: its fault, see [`super::fault`].
    pub fault: AtomicI32,
}

/// Most objects at one time.
const MOST: usize = 1 << 20;
static OBJECTS: AtomicUsize = AtomicUsize::new(0);
/// Places for objects that have been used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// The object that a handle means, if it is one of this kind.
#[inline]
pub fn object(kind: Kind, handle: u64) -> Option<&'static Object> {
    let base = OBJECTS.load(Acquire);
    let (size, at) = (size_of::<Object>(), handle as usize);
    let inside = base != 0 && at >= base && at < base + MOST * size && at % size == 0;
    // SAFETY: in the memory of objects, which stays and is zeroed to begin with; all fields are atomic.
    let object = inside.then(|| unsafe { &*(at as *const Object) })?;
    (object.kind.load(Acquire) == kind as u32).then_some(object)
}

/// The lower half's handle for an object.
#[inline]
pub fn lower(kind: Kind, handle: u64) -> Option<u64> {
    object(kind, handle).map(|o| o.lower.load(Relaxed))
}

/// The object that has a lower handle, and its context: found without the model's lock, which the caller may have.
pub fn with_lower(kind: Kind, wanted: u64) -> Option<(u64, u64)> {
    let base = OBJECTS.load(Acquire);
    let all = (0..USED.load(Acquire)).map(|i| (base + i * size_of::<Object>()) as u64);
    let mut known = all.filter_map(|handle| Some((handle, object(kind, handle)?)));
    let (handle, object) = known.find(|(_, o)| o.lower.load(Relaxed) == wanted)?;
    Some((handle, object.context.load(Relaxed)))
}

/// What is known of an object beside its handle.
pub struct Entry {
    /// The application's handle.
    pub handle: u64,
    /// What it is.
    pub kind: Kind,
    /// The context that it was made in; 0: none.
    pub context: u64,
    /// The call that made it.
    pub record: Record,
    /// Events: recorded at this time before the last restart, in milliseconds of the model's clock.
    pub stamp: Option<f64>,
    /// Events: recorded since the last restart. Streams: nothing.
    pub recorded: bool,
    /// Textures and surfaces: the runtime's descriptions of them.
    pub notes: Vec<Box<[u8]>>,
}

/// All that is alive.
pub struct Model {
    next: usize,
    free: Vec<u64>,
    serial: u64,
    /// Objects, in the order of making.
    pub live: BTreeMap<u64, Entry>,
    by_lower: BTreeMap<(Kind, u64), u64>,
    /// Settings of contexts and objects, each with the context it was made in.
    pub settings: Vec<(u64, Record)>,
    /// The devices as first seen.
    pub devices: Vec<Device>,
    /// Device memory.
    pub arena: Arena,
    /// Managed memory, in the order of making.
    pub managed: Vec<Managed>,
    /// Where memory begins of which the program wants `CU_POINTER_ATTRIBUTE_SYNC_MEMOPS`.
    pub synchronous: BTreeSet<u64>,
    /// Host memory that the device knows.
    pub pinned: BTreeMap<u64, Pinned>,
    /// Variables of modules.
    pub globals: Vec<Global>,
    /// What programs and libraries have registered.
    pub fatbins: Fatbins,
    /// Copies of module images.
    pub images: Vec<Box<[u8]>>,
    /// Modules that were unloaded while later ones stayed.
    pub ghosts: Ghosts,
}

static MODEL: Mutex<Model> = Mutex::new(Model {
    next: 0,
    free: Vec::new(),
    serial: 0,
    live: BTreeMap::new(),
    by_lower: BTreeMap::new(),
    settings: Vec::new(),
    devices: Vec::new(),
    arena: Arena::new(),
    managed: Vec::new(),
    synchronous: BTreeSet::new(),
    pinned: BTreeMap::new(),
    globals: Vec::new(),
    fatbins: Fatbins::new(),
    images: Vec::new(),
    ghosts: Ghosts::new(),
});

/// The model. It is locked inside the gate only, and not across a call that may wait for the program.
pub fn lock() -> MutexGuard<'static, Model> {
    MODEL.lock().unwrap_or_else(|e| e.into_inner())
}

/// Kinds of which the lower half gives one handle again and again.
fn is_found(kind: Kind, record: &Record) -> bool {
    let derived = matches!(kind, Kind::Function | Kind::Kernel | Kind::Module)
        || (kind == Kind::Array && record.words.len() == 3);
    derived && record.made().is_some()
}

impl Model {
    fn place(&mut self) -> u64 {
        if let Some(handle) = self.free.pop() {
            return handle;
        }
        if self.next == 0 {
            let len = MOST * size_of::<Object>();
            // SAFETY: a new mapping, where the kernel likes.
            let at = unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
                let prot = libc::PROT_READ | libc::PROT_WRITE;
                libc::mmap(core::ptr::null_mut(), len, prot, flags, -1, 0)
            };
            assert_ne!(at, libc::MAP_FAILED, "no memory for CUDA's objects");
            OBJECTS.store(at as usize, Release);
        }
        assert!(self.next < MOST, "more than {MOST} CUDA objects");
        self.next += 1;
        USED.store(self.next, Release);
        (OBJECTS.load(Relaxed) + (self.next - 1) * size_of::<Object>()) as u64
    }

    /// A new object for a lower handle, or the one that has it already.
    pub fn add(&mut self, kind: Kind, lower: u64, context: u64, record: Record) -> u64 {
        if is_found(kind, &record) {
            if let Some(handle) = self.by_lower.get(&(kind, lower)) {
                return *handle;
            }
        }
        self.serial += 1;
        let serial = self.serial;
        let handle = match kind {
            Kind::Texture | Kind::Surface => lower,
            _ => {
                let handle = self.place();
                // SAFETY: a place in the memory of objects; all fields are atomic.
                let object = unsafe { &*(handle as *const Object) };
                object.lower.store(lower, Relaxed);
                object.serial.store(serial, Relaxed);
                object.context.store(context, Relaxed);
                object.fault.store(0, Relaxed);
                object.kind.store(kind as u32, Release);
                handle
            }
        };
        self.by_lower.insert((kind, lower), handle);
        let entry = Entry {
            handle,
            kind,
            context,
            record,
            stamp: None,
            recorded: false,
            notes: Vec::new(),
        };
        self.live.insert(serial, entry);
        handle
    }

    /// An object's entry.
    pub fn entry(&mut self, kind: Kind, handle: u64) -> Option<&mut Entry> {
        let serial = match kind {
            Kind::Texture | Kind::Surface => {
                let mut all = self.live.iter();
                *all.find(|(_, e)| e.kind == kind && e.handle == handle)?.0
            }
            _ => object(kind, handle)?.serial.load(Relaxed),
        };
        self.live.get_mut(&serial)
    }

    /// Forgets an object, and what was made of it.
    pub fn remove(&mut self, kind: Kind, handle: u64) {
        let gone: Vec<u64> = self
            .live
            .iter()
            .filter(|(_, e)| e.kind == kind && e.handle == handle)
            .map(|(serial, _)| *serial)
            .collect();
        for serial in gone {
            self.forget(serial);
        }
        // What was found in it, in that order.
        let inner: Vec<(Kind, u64)> = self
            .live
            .values()
            .filter(|e| e.record.uses(kind, handle) && is_found(e.kind, &e.record))
            .map(|e| (e.kind, e.handle))
            .collect();
        for (kind, handle) in inner {
            self.remove(kind, handle);
        }
        if kind == Kind::Library {
            self.fatbins.forget(handle);
        }
        self.settings.retain(|(_, r)| !r.uses(kind, handle));
        self.globals.retain(|g| g.owner != handle);
    }

    /// Forgets an object that nothing was found in.
    pub fn end(&mut self, kind: Kind, handle: u64) {
        if let Some(object) = object(kind, handle) {
            self.forget(object.serial.load(Relaxed));
        }
    }

    /// The object that has a lower handle.
    pub fn known(&self, kind: Kind, lower: u64) -> Option<u64> {
        self.by_lower.get(&(kind, lower)).copied()
    }

    /// All objects of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = u64> + '_ {
        let all = self.live.values().filter(move |e| e.kind == kind);
        all.map(|e| e.handle)
    }

    fn forget(&mut self, serial: u64) {
        let Some(entry) = self.live.remove(&serial) else {
            return;
        };
        if ghosts::is_loaded(&entry) {
            self.unloaded(serial, &entry);
        }
        let lower = lower(entry.kind, entry.handle).unwrap_or(entry.handle);
        if self.by_lower.get(&(entry.kind, lower)) == Some(&entry.handle) {
            self.by_lower.remove(&(entry.kind, lower));
        }
        if let Some(object) = object(entry.kind, entry.handle) {
            object.kind.store(0, Release);
            self.free.push(entry.handle);
        }
    }

    /// A module or library is gone: what was loaded since has to find its place again.
    fn unloaded(&mut self, serial: u64, entry: &Entry) {
        let mut record = entry.record.clone();
        let at = record.words[1];
        if !self.images.iter().any(|i| i.as_ptr() as u64 == at) {
            // The program's own, which may be gone soon.
            if let Some(image) = super::module::image(&record) {
                let copy: Box<[u8]> = image.into();
                record.words[1] = copy.as_ptr() as u64;
                self.images.push(copy);
            }
        }
        let device = self.entry(Kind::Context, entry.context);
        let device = device.and_then(|c| Some(*c.record.words.last()? as i32));
        self.serial += 1;
        let ghost = Ghost {
            kind: entry.kind,
            device,
            record,
            ended: self.serial,
        };
        self.ghosts.add(serial, ghost, &self.live);
    }

    /// Forgets all that was made in a context.
    pub fn purge(&mut self, context: u64) {
        let gone: Vec<u64> = self
            .live
            .iter()
            .filter(|(_, e)| e.context == context && !e.kind.outlives_contexts())
            .map(|(s, _)| *s)
            .collect();
        for serial in gone {
            self.forget(serial);
        }
        self.settings.retain(|(c, _)| *c != context);
        self.globals.retain(|g| g.context != context);
        self.managed.retain(|m| m.context != context);
    }

    /// Notes a setting, in the place of an older one of the same thing.
    pub fn set(&mut self, context: u64, record: Record, value: usize) {
        self.settings
            .retain(|(c, r)| *c != context || !r.same_but(&record, value));
        self.settings.push((context, record));
    }

    /// After a restart an object has another lower handle.
    pub fn renew(&mut self, serial: u64, lower: u64) {
        if let Some(entry) = self.live.get(&serial) {
            if let Some(object) = object(entry.kind, entry.handle) {
                object.lower.store(lower, Relaxed);
            }
            self.by_lower.insert((entry.kind, lower), entry.handle);
        }
    }

    /// The same for an object that is known by its handle.
    pub fn renew_handle(&mut self, kind: Kind, handle: u64, lower: u64) {
        if let Some(object) = object(kind, handle) {
            self.renew(object.serial.load(Relaxed), lower);
        }
    }

    /// The lower handles are a half's that is gone.
    pub fn forget_lower(&mut self) {
        self.by_lower.clear();
    }
}
