//! Compiles the functions of a module, on all cores.

use anyhow::Result;

use super::Compiler;
use super::code::Code;
use super::env::ModuleScope;
use super::function::Worker;
use super::parse::Body;

impl Compiler {
    /// Compiles the functions, in any order; answers them in the module's.
    pub(super) fn compile_bodies(
        &self,
        module: &ModuleScope<'_>,
        bodies: &[Body<'_>],
    ) -> Result<Vec<Code>> {
        #[cfg(feature = "parallel-compilation")]
        if self.settings.parallel && bodies.len() > 1 {
            return self.compile_in_parallel(module, bodies);
        }
        let mut worker = Worker::default();
        bodies.iter().map(|body| self.compile_body(&mut worker, module, body)).collect()
    }

    /// Each thread takes the largest function that is left, so that none is alone with it in the end.
    #[cfg(feature = "parallel-compilation")]
    fn compile_in_parallel(
        &self,
        module: &ModuleScope<'_>,
        bodies: &[Body<'_>],
    ) -> Result<Vec<Code>> {
        use std::sync::Mutex;
        use std::sync::atomic::{AtomicUsize, Ordering};

        let mut order: Vec<usize> = (0..bodies.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(bodies[index].len()));
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(bodies.len()));
        let work = || {
            let mut worker = Worker::default();
            while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let code = self.compile_body(&mut worker, module, &bodies[index]);
                done.lock().expect("nobody panics with the lock").push((index, code));
            }
        };
        rayon::scope(|scope| {
            for _ in 0..rayon::current_num_threads().min(bodies.len()) {
                scope.spawn(|_| work());
            }
        });
        let mut done = done.into_inner().expect("nobody panics with the lock");
        done.sort_unstable_by_key(|&(index, _)| index);
        // The error of the first function, whichever failed first.
        done.into_iter().map(|(_, code)| code).collect()
    }
}
