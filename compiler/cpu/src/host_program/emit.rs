//! Host code to CLIF, statement by statement.

use super::clif_type;
use align_compiler::host::{Call, Expr, Function, Stmt, Type};
use align_compiler::tensor::MapOp;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{FuncRef, InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use cranelift_jit::JITModule;
use cranelift_module::{FuncId, Module};
use std::collections::BTreeMap;

struct Emit<'a, 'f> {
    builder: FunctionBuilder<'a>,
    function: &'f Function,
    variables: Vec<Variable>,
    context: Value,
    calls: BTreeMap<&'static str, FuncRef>,
}

/// Fills the function that `builder` builds.
pub fn function(
    module: &mut JITModule,
    mut builder: FunctionBuilder,
    function: &Function,
    imports: &BTreeMap<&'static str, FuncId>,
) -> Result<(), String> {
    let calls = imports.iter().map(|(name, id)| (*name, module.declare_func_in_func(*id, builder.func))).collect();
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    let (context, arguments) = (builder.block_params(block)[0], builder.block_params(block)[1]);
    let mut variables = vec![];
    for (i, (_, of)) in function.locals.iter().enumerate() {
        let variable = builder.declare_var(clif_type(*of));
        let start = match of {
            _ if i < function.params => {
                builder.ins().load(types::I64, MemFlagsData::trusted(), arguments, 8 * i as i32)
            }
            Type::Float => builder.ins().f64const(0.0),
            of => builder.ins().iconst(clif_type(*of), 0),
        };
        builder.def_var(variable, start);
        variables.push(variable);
    }
    let mut emit = Emit { builder, function, variables, context, calls };
    emit.block(&function.body)?;
    emit.builder.seal_all_blocks();
    emit.builder.finalize(module.target_config());
    Ok(())
}

impl Emit<'_, '_> {
    /// Whether the end of the block is reached.
    fn block(&mut self, body: &[Stmt]) -> Result<bool, String> {
        for stmt in body {
            match stmt {
                Stmt::Set(local, value) => {
                    let value = self.value(value)?;
                    self.builder.def_var(self.variables[local.0 as usize], value);
                }
                Stmt::Do(Expr::Call(call, inputs)) => drop(self.call(call, inputs)?),
                Stmt::Do(value) => drop(self.value(value)?),
                Stmt::Return(value) => {
                    let value = self.value(value)?;
                    self.builder.ins().return_(&[value]);
                    return Ok(false);
                }
                Stmt::If(condition, then, other) => {
                    let condition = self.value(condition)?;
                    let blocks = [(); 3].map(|()| self.builder.create_block());
                    self.builder.ins().brif(condition, blocks[0], &[], blocks[1], &[]);
                    let mut reached = false;
                    for (block, body) in [(blocks[0], then), (blocks[1], other)] {
                        self.builder.switch_to_block(block);
                        if self.block(body)? {
                            self.builder.ins().jump(blocks[2], &[]);
                            reached = true;
                        }
                    }
                    if !reached {
                        return Ok(false);
                    }
                    self.builder.switch_to_block(blocks[2]);
                }
                Stmt::While(condition, body) => {
                    let [head, inside, after] = [(); 3].map(|()| self.builder.create_block());
                    self.builder.ins().jump(head, &[]);
                    self.builder.switch_to_block(head);
                    let condition = self.value(condition)?;
                    self.builder.ins().brif(condition, inside, &[], after, &[]);
                    self.builder.switch_to_block(inside);
                    if self.block(body)? {
                        self.builder.ins().jump(head, &[]);
                    }
                    self.builder.switch_to_block(after);
                }
            }
        }
        Ok(true)
    }

    fn call(&mut self, call: &Call, inputs: &[Expr]) -> Result<Option<Value>, String> {
        let function = *self.calls.get(call.name).ok_or_else(|| format!("there is no function {}", call.name))?;
        let mut values = vec![self.context];
        for input in inputs {
            values.push(self.value(input)?);
        }
        let call = self.builder.ins().call(function, &values);
        Ok(self.builder.inst_results(call).first().copied())
    }

    fn value(&mut self, expr: &Expr) -> Result<Value, String> {
        Ok(match expr {
            Expr::Float(x) => self.builder.ins().f64const(*x),
            Expr::Int(n) => self.builder.ins().iconst(types::I64, *n),
            Expr::Bool(b) => self.builder.ins().iconst(types::I8, i64::from(*b)),
            Expr::Read(local) => self.builder.use_var(self.variables[local.0 as usize]),
            Expr::Call(call, inputs) => {
                self.call(call, inputs)?.ok_or_else(|| format!("{} gives nothing", call.name))?
            }
            Expr::Cast(to, of) => {
                let from = self.function.type_of(of);
                let x = self.value(of)?;
                match (from, to) {
                    (Type::Int, Type::Float) => self.builder.ins().fcvt_from_sint(types::F64, x),
                    (Type::Bool, Type::Float) => self.builder.ins().fcvt_from_uint(types::F64, x),
                    (Type::Float, Type::Int) => self.builder.ins().fcvt_to_sint_sat(types::I64, x),
                    (Type::Bool, Type::Int) => self.builder.ins().uextend(types::I64, x),
                    _ => x,
                }
            }
            Expr::Map(op, inputs) => {
                let of = self.function.type_of(inputs.last().ok_or("an operation of nothing")?);
                let values = inputs.iter().map(|e| self.value(e)).collect::<Result<Vec<_>, _>>()?;
                match (op, of, &values[..]) {
                    (MapOp::Where, _, &[c, a, b]) => self.builder.ins().select(c, a, b),
                    (op, Type::Float, values) => self.float(*op, values)?,
                    (op, _, values) => self.whole(*op, values)?,
                }
            }
        })
    }

    fn math(&mut self, name: &'static str, inputs: &[Value]) -> Value {
        let call = self.builder.ins().call(self.calls[name], inputs);
        self.builder.inst_results(call)[0]
    }

    fn float(&mut self, op: MapOp, x: &[Value]) -> Result<Value, String> {
        let b = &mut self.builder;
        Ok(match (op, x) {
            (MapOp::Exp, _) => self.math("host_exp", x),
            (MapOp::Log, _) => self.math("host_log", x),
            (MapOp::Sin, _) => self.math("host_sin", x),
            (MapOp::Cos, _) => self.math("host_cos", x),
            (MapOp::Tanh, _) => self.math("host_tanh", x),
            (MapOp::Sigmoid, _) => self.math("host_sigmoid", x),
            (MapOp::Pow, _) => self.math("host_pow", x),
            (MapOp::Rem, _) => self.math("host_rem", x),
            (MapOp::Neg, &[x]) => b.ins().fneg(x),
            (MapOp::Abs, &[x]) => b.ins().fabs(x),
            (MapOp::Sign, &[x]) => {
                let (zero, one) = (b.ins().f64const(0.0), b.ins().f64const(1.0));
                let signed = b.ins().fcopysign(one, x);
                let is_zero = b.ins().fcmp(FloatCC::Equal, x, zero);
                b.ins().select(is_zero, zero, signed)
            }
            (MapOp::Sqrt, &[x]) => b.ins().sqrt(x),
            (MapOp::Rsqrt, &[x]) => {
                let (one, root) = (b.ins().f64const(1.0), b.ins().sqrt(x));
                b.ins().fdiv(one, root)
            }
            (MapOp::Floor, &[x]) => b.ins().floor(x),
            (MapOp::Ceil, &[x]) => b.ins().ceil(x),
            (MapOp::Round, &[x]) => b.ins().nearest(x),
            (MapOp::IsNan, &[x]) => b.ins().fcmp(FloatCC::Unordered, x, x),
            (MapOp::Add, &[x, y]) => b.ins().fadd(x, y),
            (MapOp::Sub, &[x, y]) => b.ins().fsub(x, y),
            (MapOp::Mul, &[x, y]) => b.ins().fmul(x, y),
            (MapOp::Div, &[x, y]) => b.ins().fdiv(x, y),
            (MapOp::Min, &[x, y]) => b.ins().fmin(x, y),
            (MapOp::Max, &[x, y]) => b.ins().fmax(x, y),
            (MapOp::Eq, &[x, y]) => b.ins().fcmp(FloatCC::Equal, x, y),
            (MapOp::Ne, &[x, y]) => b.ins().fcmp(FloatCC::NotEqual, x, y),
            (MapOp::Lt, &[x, y]) => b.ins().fcmp(FloatCC::LessThan, x, y),
            (MapOp::Le, &[x, y]) => b.ins().fcmp(FloatCC::LessThanOrEqual, x, y),
            (MapOp::Gt, &[x, y]) => b.ins().fcmp(FloatCC::GreaterThan, x, y),
            (MapOp::Ge, &[x, y]) => b.ins().fcmp(FloatCC::GreaterThanOrEqual, x, y),
            _ => return Err(format!("{op:?} of Floats is not known")),
        })
    }

    /// Ints and Bools.
    fn whole(&mut self, op: MapOp, x: &[Value]) -> Result<Value, String> {
        let b = &mut self.builder;
        Ok(match (op, x) {
            (MapOp::Not, &[x]) => {
                let zero = b.ins().iconst(types::I8, 0);
                b.ins().icmp(IntCC::Equal, x, zero)
            }
            (MapOp::And, &[x, y]) => b.ins().band(x, y),
            (MapOp::Or, &[x, y]) => b.ins().bor(x, y),
            (MapOp::Neg, &[x]) => b.ins().ineg(x),
            (MapOp::Abs, &[x]) => b.ins().iabs(x),
            (MapOp::Sign, &[x]) => {
                let (low, high) = (b.ins().iconst(types::I64, -1), b.ins().iconst(types::I64, 1));
                let x = b.ins().smax(x, low);
                b.ins().smin(x, high)
            }
            (MapOp::Add, &[x, y]) => b.ins().iadd(x, y),
            (MapOp::Sub, &[x, y]) => b.ins().isub(x, y),
            (MapOp::Mul, &[x, y]) => b.ins().imul(x, y),
            (MapOp::Min, &[x, y]) => b.ins().smin(x, y),
            (MapOp::Max, &[x, y]) => b.ins().smax(x, y),
            (MapOp::Eq, &[x, y]) => b.ins().icmp(IntCC::Equal, x, y),
            (MapOp::Ne, &[x, y]) => b.ins().icmp(IntCC::NotEqual, x, y),
            (MapOp::Lt, &[x, y]) => b.ins().icmp(IntCC::SignedLessThan, x, y),
            (MapOp::Le, &[x, y]) => b.ins().icmp(IntCC::SignedLessThanOrEqual, x, y),
            (MapOp::Gt, &[x, y]) => b.ins().icmp(IntCC::SignedGreaterThan, x, y),
            (MapOp::Ge, &[x, y]) => b.ins().icmp(IntCC::SignedGreaterThanOrEqual, x, y),
            _ => return Err(format!("{op:?} of Ints is not known")),
        })
    }
}
