//! The names of a linker: what each stands for, aliases, looking them up.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, anyhow, bail};

use super::Linker;
use crate::engine::Engine;
use crate::externs::{Definition, Extern};
use crate::store::{AsContextMut, StoreInner};
use crate::types::ImportType;

/// Definitions by module and name.
#[derive(Clone, Default)]
pub(super) struct Names {
    modules: BTreeMap<Box<str>, Items>,
    pub(super) allow_shadowing: bool,
}

/// What is defined under one first name.
#[derive(Clone, Default)]
struct Items {
    /// Without a second name.
    alone: Option<Definition>,
    named: BTreeMap<Box<str>, Definition>,
}

impl Items {
    fn get(&self, name: Option<&str>) -> Option<&Definition> {
        match name {
            Some(name) => self.named.get(name),
            None => self.alone.as_ref(),
        }
    }
}

impl Names {
    pub(super) fn get(&self, module: &str, name: Option<&str>) -> Option<&Definition> {
        self.modules.get(module)?.get(name)
    }

    /// Everything with two names, in their order.
    fn iter(&self) -> impl Iterator<Item = (&str, &str, &Definition)> {
        self.modules.iter().flat_map(|(module, items)| {
            items.named.iter().map(move |(name, item)| (&**module, &**name, item))
        })
    }

    /// That a name can be defined.
    pub(super) fn check_vacant(&self, module: &str, name: Option<&str>) -> Result<()> {
        if !self.allow_shadowing && self.get(module, name).is_some() {
            match name {
                Some(name) => bail!("`{module}::{name}` is defined already"),
                None => bail!("`{module}` is defined already"),
            }
        }
        Ok(())
    }

    pub(super) fn insert(
        &mut self,
        module: &str,
        name: Option<&str>,
        item: Definition,
    ) -> Result<()> {
        self.check_vacant(module, name)?;
        if !self.modules.contains_key(module) {
            self.modules.insert(module.into(), Items::default());
        }
        let items = self.modules.get_mut(module).expect("just inserted");
        match name {
            Some(name) => drop(items.named.insert(name.into(), item)),
            None => items.alone = Some(item),
        }
        Ok(())
    }

    /// Defines all of these, or none if a name is taken.
    pub(super) fn insert_all(
        &mut self,
        module: &str,
        items: Vec<(String, Definition)>,
    ) -> Result<()> {
        for (name, _) in &items {
            self.check_vacant(module, Some(name))?;
        }
        items.into_iter().try_for_each(|(name, item)| self.insert(module, Some(&name), item))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(module, name, _)| format!("{module}::{name}"));
        let alone = self.modules.iter().filter(|(_, items)| items.alone.is_some());
        f.debug_set().entries(names).entries(alone.map(|(name, _)| name)).finish()
    }
}

impl<T> Linker<T> {
    /// Defines what `module::name` stands for under other names as well. It goes on to stand for
    /// that if `module::name` is shadowed later.
    ///
    /// ```
    /// # use lampwick::{Engine, Linker};
    /// # fn main() -> anyhow::Result<()> {
    /// let mut linker = Linker::<()>::new(&Engine::default());
    /// linker.func_wrap("wasi_snapshot_preview1", "sched_yield", || 0_i32)?;
    /// linker.alias("wasi_snapshot_preview1", "sched_yield", "wasi_unstable", "sched_yield")?;
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    ///
    /// Fails if `module::name` is not defined, or if the new name is taken and
    /// [shadowing](Self::allow_shadowing) is not allowed.
    pub fn alias(
        &mut self,
        module: &str,
        name: &str,
        as_module: &str,
        as_name: &str,
    ) -> Result<&mut Self> {
        let item = self.names.get(module, Some(name)).cloned();
        let item = item.ok_or_else(|| anyhow!("no item named `{module}::{name}` is defined"))?;
        self.names.insert(as_module, Some(as_name), item)?;
        Ok(self)
    }

    /// Defines everything that is now defined under `module` under `as_module` as well; nothing, if
    /// there is nothing.
    ///
    /// # Errors
    ///
    /// Fails, with nothing defined, if a name is taken, unless [shadowing](Self::allow_shadowing)
    /// is allowed.
    pub fn alias_module(&mut self, module: &str, as_module: &str) -> Result<()> {
        let Some(Items { alone, named }) = self.names.modules.get(module).cloned() else {
            return Ok(());
        };
        if alone.is_some() {
            self.names.check_vacant(as_module, None)?;
        }
        let named = named.into_iter().map(|(name, item)| (name.into(), item)).collect();
        self.names.insert_all(as_module, named)?;
        alone.map_or(Ok(()), |item| self.names.insert(as_module, None, item))
    }

    /// Everything that is defined with two names, in the order of these. Host functions are placed
    /// into the store, each once; what belongs to another store is given as it is.
    ///
    /// # Panics
    ///
    /// Panics if the linker and the store belong to different engines. The iterator panics if there
    /// is no memory for the code that calls a host function.
    pub fn iter(
        &self,
        mut store: impl AsContextMut<Data = T>,
    ) -> impl Iterator<Item = (&str, &str, Extern)> {
        self.assert_same_engine(store.as_context_mut().0);
        self.names
            .iter()
            .map(move |(module, name, item)| (module, name, placed(item, store.as_context_mut().0)))
    }

    /// What is defined under these names, or under one name alone. A host function is placed into
    /// the store, once; what belongs to another store is given as it is.
    ///
    /// # Panics
    ///
    /// Panics if the linker and the store belong to different engines, or if there is no memory for
    /// the code that calls a host function.
    pub fn get(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        name: Option<&str>,
    ) -> Option<Extern> {
        let store = store.as_context_mut().0;
        self.assert_same_engine(store);
        self.names.get(module, name).map(|item| placed(item, store))
    }

    /// What is defined under the names of an import, of whatever type.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get).
    pub fn get_by_import(
        &self,
        store: impl AsContextMut<Data = T>,
        import: &ImportType<'_>,
    ) -> Option<Extern> {
        self.get(store, import.module(), import.name())
    }

    fn assert_same_engine(&self, store: &StoreInner<T>) {
        assert!(
            Engine::same(&self.engine, &store.engine),
            "the linker and the store belong to different engines"
        );
    }
}

fn placed<T>(item: &Definition, store: &mut StoreInner<T>) -> Extern {
    item.place(store).unwrap_or_else(|error| panic!("{error:?}"))
}
