//! Host code as machine code: CLIF by Cranelift, with calls of functions of the runtime.

use align_compiler::host::{Call, Function, Type, verify};
use cranelift_codegen::ir::{AbiParam, Signature, UserFuncName, types};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::ManuallyDrop;

mod emit;
mod math;
#[cfg(test)]
mod tests;

/// A compiled function. Its code lives as long as it does.
pub struct HostProgram {
    module: ManuallyDrop<JITModule>,
    entry: extern "C" fn(*mut c_void, *const i64) -> i64,
    params: usize,
    clif: String,
}

/// A function of the runtime: its address. It takes the context, then what its [`Call`] says: `f64`, `i64`, `bool`.
pub type Symbol = (Call, *const u8);

impl HostProgram {
    /// Compiles a function whose calls are all among `symbols`. The error is a clause.
    pub fn compile(function: &Function, symbols: &[Symbol]) -> Result<HostProgram, String> {
        verify(function)?;
        let mut flags = settings::builder();
        for (name, value) in [("use_colocated_libcalls", "false"), ("is_pic", "false"), ("opt_level", "speed")] {
            flags.set(name, value).map_err(|e| e.to_string())?;
        }
        let isa = cranelift_native::builder()?.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())?;
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        builder.symbols(symbols.iter().map(|(call, at)| (call.name, *at)));
        builder.symbols(math::SYMBOLS.iter().map(|(name, _, at)| (*name, at.address())));
        let mut module = JITModule::new(builder);
        let clif = match build(&mut module, function, symbols) {
            Ok(clif) => clif,
            Err(what) => {
                // SAFETY: nothing of the module was ever called.
                unsafe { module.free_memory() };
                return Err(what);
            }
        };
        let entry = module.get_finalized_function(clif.1);
        // SAFETY: the function was built with exactly this signature.
        let entry = unsafe { std::mem::transmute::<*const u8, extern "C" fn(*mut c_void, *const i64) -> i64>(entry) };
        Ok(HostProgram { module: ManuallyDrop::new(module), entry, params: function.params, clif: clif.0 })
    }

    /// The code before it became machine code.
    pub fn clif(&self) -> &str {
        &self.clif
    }

    /// Runs the function.
    ///
    /// # Safety
    /// The symbols given at compilation have the signatures of their calls, and may be called with `context`.
    pub unsafe fn call(&self, context: *mut c_void, arguments: &[i64]) -> i64 {
        assert_eq!(arguments.len(), self.params, "the function has as many parameters");
        (self.entry)(context, arguments.as_ptr())
    }
}

impl Drop for HostProgram {
    fn drop(&mut self) {
        // SAFETY: the code is reached by this value alone, which ends here.
        unsafe { ManuallyDrop::take(&mut self.module).free_memory() }
    }
}

fn clif_type(of: Type) -> types::Type {
    match of {
        Type::Float => types::F64,
        Type::Int => types::I64,
        Type::Bool => types::I8,
    }
}

fn fail(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// Builds, compiles and links the function. Gives its CLIF and its id.
fn build(module: &mut JITModule, function: &Function, symbols: &[Symbol]) -> Result<(String, FuncId), String> {
    let pointer = module.target_config().pointer_type();
    let mut imports = BTreeMap::new();
    let mut import = |module: &mut JITModule, name: &'static str, signature: Signature| {
        let id = module.declare_function(name, Linkage::Import, &signature).map_err(fail)?;
        imports.insert(name, id);
        Ok::<(), String>(())
    };
    for (call, _) in symbols {
        let mut signature = module.make_signature();
        signature.params.push(AbiParam::new(pointer));
        signature.params.extend(call.params.iter().map(|of| AbiParam::new(clif_type(*of))));
        signature.returns.extend(call.result.map(|of| AbiParam::new(clif_type(of))));
        import(module, call.name, signature)?;
    }
    for (name, arguments, _) in math::SYMBOLS {
        let mut signature = module.make_signature();
        signature.params.extend(vec![AbiParam::new(types::F64); *arguments]);
        signature.returns.push(AbiParam::new(types::F64));
        import(module, name, signature)?;
    }
    let mut signature = module.make_signature();
    signature.params.extend([AbiParam::new(pointer), AbiParam::new(pointer)]);
    signature.returns.push(AbiParam::new(types::I64));
    let id = module.declare_function(&function.name, Linkage::Export, &signature).map_err(fail)?;

    let mut context = module.make_context();
    context.func.signature = signature;
    context.func.name = UserFuncName::user(0, id.as_u32());
    let mut builder_context = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut context.func, &mut builder_context);
    emit::function(module, builder, function, &imports)?;
    let clif = context.func.display().to_string();
    module.define_function(id, &mut context).map_err(|e| format!("{e:?}"))?;
    module.finalize_definitions().map_err(fail)?;
    Ok((clif, id))
}
