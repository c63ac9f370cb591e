//! From nests to machine code. Equal nests are compiled once.

use crate::emit::Emit;
use crate::emit::nest::{self, Site};
use crate::host::Host;
use crate::normal::Normal;
use crate::{CompileError, failed};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, UserFuncName};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use std::collections::HashMap;

/// The code of a nest: words (addresses, sizes, flags), and the rows to do. Gives 0 or the code of a fault.
pub type Entry = unsafe extern "C" fn(words: *const u64, from: u64, to: u64) -> u64;

/// Compiles nests one after another.
pub struct Jit {
    module: JITModule,
    functions: FunctionBuilderContext,
    fma: bool,
    host: Vec<FuncId>,
    known: HashMap<String, usize>,
    made: Vec<(FuncId, Vec<Site>)>,
    /// The text of the functions, if asked for.
    text: Option<String>,
}

/// Machine code that can be called as long as this lives.
pub struct Code {
    module: Option<JITModule>,
    entries: Vec<(Entry, Vec<Site>)>,
}

// SAFETY: after compilation the module is only held for its memory, which nobody writes any more.
unsafe impl Sync for Code {}

impl Jit {
    pub fn new(text: bool) -> Result<Jit, CompileError> {
        let mut flags = settings::builder();
        let verify = if cfg!(debug_assertions) { "true" } else { "false" };
        for (name, value) in [
            ("opt_level", "speed"),
            ("is_pic", "false"),
            ("use_colocated_libcalls", "false"),
            ("enable_verifier", verify),
            ("enable_probestack", "false"),
        ] {
            flags.set(name, value).map_err(failed)?;
        }
        let isa = cranelift_native::builder().map_err(failed)?;
        let isa = isa.finish(settings::Flags::new(flags)).map_err(failed)?;
        let fma = match isa.name() {
            "x64" => isa.isa_flags().iter().any(|flag| flag.name == "has_fma" && flag.as_bool() == Some(true)),
            _ => true,
        };
        let convention = isa.default_call_conv();
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        for host in Host::ALL {
            builder.symbol(host.name(), host.address());
        }
        let mut module = JITModule::new(builder);
        let host = Host::ALL
            .iter()
            .map(|h| module.declare_function(h.name(), Linkage::Import, &h.signature(convention)).map_err(failed))
            .collect::<Result<_, _>>()?;
        let text = text.then(String::new);
        Ok(Jit {
            module,
            functions: FunctionBuilderContext::new(),
            fma,
            host,
            known: HashMap::new(),
            made: vec![],
            text,
        })
    }

    /// The number of the nest's code.
    pub fn nest(&mut self, normal: &Normal) -> Result<usize, CompileError> {
        let key = format!("{normal:?}");
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let number = self.made.len();
        let mut context = self.module.make_context();
        context.func.signature.params = vec![AbiParam::new(I64); 3];
        context.func.signature.returns = vec![AbiParam::new(I64)];
        let id = self.module.declare_anonymous_function(&context.func.signature).map_err(failed)?;
        context.func.name = UserFuncName::user(0, id.as_u32());
        let host = self.host.iter().map(|h| self.module.declare_func_in_func(*h, &mut context.func)).collect();
        let b = FunctionBuilder::new(&mut context.func, &mut self.functions);
        let sites = nest::emit(Emit { b, fma: self.fma, host }, normal, self.module.target_config());
        if let Some(text) = &mut self.text {
            *text += &format!("; nest {number}\n{}\n", context.func.display());
        }
        self.module.define_function(id, &mut context).map_err(|e| failed(format!("{e:?}")))?;
        self.made.push((id, sites));
        self.known.insert(key, number);
        Ok(number)
    }

    /// Makes the code callable. Also gives the text of the functions, if it was asked for.
    pub fn finish(mut self) -> Result<(Code, Option<String>), CompileError> {
        self.module.finalize_definitions().map_err(failed)?;
        let entries = self.made.into_iter().map(|(id, sites)| {
            let address = self.module.get_finalized_function(id);
            // SAFETY: functions are declared with exactly this signature.
            (unsafe { std::mem::transmute::<*const u8, Entry>(address) }, sites)
        });
        let entries = entries.collect();
        Ok((Code { module: Some(self.module), entries }, self.text))
    }
}

impl Code {
    pub fn entry(&self, number: usize) -> Entry {
        self.entries[number].0
    }

    /// What a fault code of this nest means.
    pub fn site(&self, number: usize, code: u64) -> &Site {
        &self.entries[number].1[(code >> 32) as usize - 1]
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: entries are only reached through `self`.
            unsafe { module.free_memory() };
        }
    }
}
