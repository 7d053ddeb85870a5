//! Graphs that can be launched.

use super::build::{instantiate_lower, Step};
use super::nodes::{batch, copy, fill, host, keep_attributes, kernel, kernel_of};
use super::work::Act;
use super::{enrol, lock, lower_of, Exec, Work};
use crate::codes::*;
use crate::driver::{check, inside, put, refuse};
use crate::lower::{self, ix};
use crate::model::{self, Kind};
use crate::{context, event, stream};

/// `CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD`.
const UPLOAD: u64 = 2;

unsafe fn instantiate(out: u64, graph: u64, flags: u64) -> Result<(), i32> {
    if out == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's; a lower handle.
    unsafe {
        context::ensure()?;
        let mut all = lock();
        let steps = all.plan(graph)?;
        all.no_second(&steps)?;
        let lower = instantiate_lower(lower_of(Kind::Graph, graph)?, flags, &[])?;
        let exec = Exec {
            context: context::current(),
            flags,
            steps,
            made_of: 0,
        };
        let handle = enrol(Kind::Exec, lower, exec.context);
        all.execs.insert(handle, exec);
        put(out, handle)
    }
}

pub unsafe fn cuGraphInstantiateWithFlags(out: u64, graph: u64, flags: u64) -> i32 {
    inside(|| unsafe { instantiate(out, graph, flags) })
}

pub unsafe fn cuGraphInstantiate(out: u64, graph: u64, _bad: u64, log: u64, n: u64) -> i32 {
    inside(|| unsafe {
        if log != 0 && n != 0 {
            put(log, 0_u8)?;
        }
        instantiate(out, graph, 0)
    })
}

pub unsafe fn cuGraphInstantiate_v2(out: u64, graph: u64, bad: u64, log: u64, n: u64) -> i32 {
    unsafe { cuGraphInstantiate(out, graph, bad, log, n) }
}

pub unsafe fn cuGraphInstantiateWithParams(out: u64, graph: u64, what: u64) -> i32 {
    if what == 0 {
        return INVALID_VALUE;
    }
    // CUDA_GRAPH_INSTANTIATE_PARAMS: flags, a stream to upload in, a bad node, what came of it.
    // SAFETY: the program's structure.
    unsafe {
        let words = what as *mut u64;
        let (flags, upload) = (*words, *words.add(1));
        let mut code = cuGraphInstantiateWithFlags(out, graph, flags & !UPLOAD);
        if code == SUCCESS && flags & UPLOAD != 0 {
            code = cuGraphUpload(*(out as *const u64), upload);
        }
        *words.add(2) = 0;
        *words.add(3).cast::<u32>() = u32::from(code != SUCCESS);
        code
    }
}

pub unsafe fn cuGraphExecGetFlags(exec: u64, out: u64) -> i32 {
    inside(|| unsafe { put(out, lock().exec(exec)?.flags) })
}

pub unsafe fn cuGraphExecDestroy(exec: u64) -> i32 {
    inside(|| {
        context::ensure()?;
        let mut all = lock();
        // SAFETY: lower handles; inside the gate.
        unsafe {
            let args = [lower_of(Kind::Exec, exec)?];
            check(lower::must(ix::cuGraphExecDestroy, &args))?;
            let graph = all.exec(exec)?.made_of;
            if graph != 0 {
                lower::must(ix::cuGraphDestroy, &[graph]);
            }
        }
        all.forget_exec(exec);
        all.sweep()
    })
}

/// Events that steps record.
fn recorded(steps: &[Step], found: &mut Vec<u64>) {
    for step in steps {
        if let (Work::Record(event), true) = (&step.work, step.enabled) {
            found.push(*event);
        }
        recorded(&step.child, found);
    }
}

pub unsafe fn cuGraphLaunch(exec: u64, stream: u64) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        let (all, mut events) = (lock(), Vec::new());
        let known = all.execs.get(&exec).ok_or(INVALID_VALUE)?;
        recorded(&known.steps, &mut events);
        let after = all.launch(known)?;
        // What is live must not change until the launch is known.
        let held = (!after.is_empty()).then_some(all);
        if !events.is_empty() {
            event::start_clock()?;
        }
        let stream = stream::lower(stream)?;
        let args = [lower_of(Kind::Exec, exec)?, stream];
        check(lower::must(ix::cuGraphLaunch, &args))?;
        events.into_iter().for_each(event::note);
        held.map_or(Ok(()), |mut all| all.launched(after, stream))
    })
}

pub unsafe fn cuGraphUpload(exec: u64, stream: u64) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        let args = [lower_of(Kind::Exec, exec)?, stream::lower(stream)?];
        check(lower::must(ix::cuGraphUpload, &args))
    })
}

/// Changes a node of a graph that can be launched.
///
/// # Errors
/// The code for the application.
///
/// # Safety
/// Inside the gate.
pub unsafe fn change_exec(exec: u64, node: u64, mut work: Work) -> Result<(), i32> {
    context::ensure()?;
    let mut all = lock();
    let (child, graph) = match work {
        Work::Child(graph) => {
            all.no_memory(graph)?;
            (all.plan(graph)?, lower_of(Kind::Graph, graph)?)
        }
        _ => (Vec::new(), 0),
    };
    let lower = lower_of(Kind::Exec, exec)?;
    let steps = all.exec(exec)?.steps.iter_mut();
    let step = steps.into_iter().find(|s| s.node == node);
    let step = step.ok_or(INVALID_VALUE)?;
    if step.work.number() != work.number() {
        return Err(INVALID_VALUE);
    }
    keep_attributes(&mut work, &step.work);
    // SAFETY: a lower node of this kind.
    unsafe { work.lowered(Act::Exec([lower, step.lower]), graph) }?;
    (step.work, step.child) = (work, child);
    Ok(())
}

pub unsafe fn cuGraphExecKernelNodeSetParams(exec: u64, node: u64, what: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, kernel_of(what, 7)?) })
}

pub unsafe fn cuGraphExecKernelNodeSetParams_v2(exec: u64, node: u64, what: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, kernel(what)?) })
}

pub unsafe fn cuGraphExecMemcpyNodeSetParams(exec: u64, node: u64, what: u64, of: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, copy(what, of)?) })
}

pub unsafe fn cuGraphExecMemsetNodeSetParams(exec: u64, node: u64, what: u64, of: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, fill(what, of)?) })
}

pub unsafe fn cuGraphExecBatchMemOpNodeSetParams(exec: u64, node: u64, what: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, batch(what)?) })
}

pub unsafe fn cuGraphExecHostNodeSetParams(exec: u64, node: u64, what: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, host(what)?) })
}

pub unsafe fn cuGraphExecChildGraphNodeSetParams(exec: u64, node: u64, graph: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, Work::Child(graph)) })
}

pub unsafe fn cuGraphExecEventRecordNodeSetEvent(exec: u64, node: u64, event: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, Work::Record(event)) })
}

pub unsafe fn cuGraphExecEventWaitNodeSetEvent(exec: u64, node: u64, event: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, Work::Wait(event)) })
}

pub unsafe fn cuGraphNodeSetEnabled(exec: u64, node: u64, enabled: i32) -> i32 {
    inside(|| {
        context::ensure()?;
        let mut all = lock();
        let mut steps = all.exec(exec)?.steps.iter_mut();
        let step = steps.find(|s| s.node == node).ok_or(INVALID_VALUE)?;
        let args = [lower_of(Kind::Exec, exec)?, step.lower, enabled as u64];
        // SAFETY: lower handles; inside the gate.
        check(unsafe { lower::must(ix::cuGraphNodeSetEnabled, &args) })?;
        step.enabled = enabled != 0;
        Ok(())
    })
}

pub unsafe fn cuGraphNodeGetEnabled(exec: u64, node: u64, out: u64) -> i32 {
    inside(|| {
        let mut all = lock();
        let mut steps = all.exec(exec)?.steps.iter();
        let step = steps.find(|s| s.node == node).ok_or(INVALID_VALUE)?;
        // SAFETY: the program's place.
        unsafe { put(out, u32::from(step.enabled)) }
    })
}

/// `CUgraphExecUpdateResultInfo`: what came of it, and two nodes.
type Told = [u64; 3];

unsafe fn update(exec: u64, graph: u64) -> (Result<(), i32>, Told) {
    let mut told: Told = [0; 3];
    let mut updated = || {
        context::ensure()?;
        let mut all = lock();
        let new = all.plan(graph)?;
        let known = all.exec(exec)?;
        if known.steps.iter().chain(&new).any(|s| s.work.is_memory()) {
            return Err(refuse("cuGraphExecUpdate with nodes of memory"));
        }
        let args = [
            lower_of(Kind::Exec, exec)?,
            lower_of(Kind::Graph, graph)?,
            told.as_mut_ptr() as u64,
        ];
        // SAFETY: lower handles, and a place for what came of it.
        check(unsafe { lower::must(ix::cuGraphExecUpdate_v2, &args) })?;
        // Nodes are known by those of the graph that it was made of.
        for (old, mut new) in known.steps.iter_mut().zip(new) {
            (new.node, new.lower, new.enabled) = (old.node, old.lower, old.enabled);
            *old = new;
        }
        Ok(())
    };
    let outcome = updated();
    for node in &mut told[1..] {
        *node = model::lock().known(Kind::Node, *node).unwrap_or(0);
    }
    (outcome, told)
}

pub unsafe fn cuGraphExecUpdate_v2(exec: u64, graph: u64, out: u64) -> i32 {
    inside(|| unsafe {
        let (outcome, told) = update(exec, graph);
        if out != 0 {
            put(out, told)?;
        }
        outcome
    })
}

pub unsafe fn cuGraphExecUpdate(exec: u64, graph: u64, node: u64, result: u64) -> i32 {
    inside(|| unsafe {
        let (outcome, told) = update(exec, graph);
        if node != 0 {
            put(node, told[1])?;
        }
        if result != 0 {
            put(result, told[0] as u32)?;
        }
        outcome
    })
}
