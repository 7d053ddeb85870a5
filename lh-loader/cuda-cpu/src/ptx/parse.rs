//! Tokens into a module, by recursive descent.

use super::lex::{self, Token};
use super::*;

/// Reads a module.
pub fn parse(text: &str) -> Result<Module<'_>, Error> {
    let mut p = Parser {
        tokens: lex::tokens(text)?,
        at: 0,
    };
    let mut module = Module::default();
    while p.at < p.tokens.len() {
        p.item(&mut module)?;
    }
    Ok(module)
}

pub(super) struct Parser<'a> {
    pub(super) tokens: Vec<(Token<'a>, u32)>,
    pub(super) at: usize,
}

/// What stands before a variable or a function.
#[derive(Default)]
pub(super) struct Linkage {
    external: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn line(&self) -> u32 {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.at.min(last)).map_or(0, |t| t.1)
    }

    pub(super) fn wrong<T>(&self, wanted: &str) -> Result<T, Error> {
        let found = match self.peek() {
            Some(token) => format!("{token:?}"),
            None => "the end".into(),
        };
        Err(Error::at(
            self.line(),
            format!("{wanted} is expected, not {found}"),
        ))
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    pub(super) fn after(&self, n: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + n).map(|t| t.0)
    }

    pub(super) fn eat(&mut self, token: Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += found as usize;
        found
    }

    pub(super) fn eat_sign(&mut self, sign: u8) -> bool {
        self.eat(Token::Sign(sign))
    }

    pub(super) fn sign(&mut self, sign: u8) -> Result<(), Error> {
        match self.eat_sign(sign) {
            true => Ok(()),
            false => self.wrong(&format!("{:?}", sign as char)),
        }
    }

    pub(super) fn name(&mut self) -> Result<&'a str, Error> {
        match self.peek() {
            Some(Token::Name(name)) => {
                self.at += 1;
                Ok(name)
            }
            _ => self.wrong("a name"),
        }
    }

    pub(super) fn int(&mut self) -> Result<i128, Error> {
        let negative = self.eat_sign(b'-');
        match self.peek() {
            Some(Token::Int(n)) => {
                self.at += 1;
                Ok(if negative { -n } else { n })
            }
            _ => self.wrong("a number"),
        }
    }

    pub(super) fn size(&mut self) -> Result<usize, Error> {
        let n = self.int()?;
        usize::try_from(n).or_else(|_| self.wrong("a size"))
    }

    /// Things between commas, up to a sign that is eaten.
    pub(super) fn until<T>(
        &mut self,
        end: u8,
        mut one: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        if self.eat_sign(end) {
            return Ok(all);
        }
        loop {
            all.push(one(self)?);
            if self.eat_sign(end) {
                return Ok(all);
            }
            self.sign(b',')?;
        }
    }

    /// Goes past everything up to the end of the line: directives that say nothing to us.
    pub(super) fn skip_line(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.line() == line {
            self.at += 1;
        }
    }

    /// Goes past a `{ … }`.
    fn skip_braces(&mut self) -> Result<(), Error> {
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(Token::Sign(b'{')) => depth += 1,
                Some(Token::Sign(b'}')) => depth -= 1,
                Some(_) => (),
                None => return self.wrong("'}'"),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn item(&mut self, module: &mut Module<'a>) -> Result<(), Error> {
        let mut linkage = Linkage::default();
        loop {
            let Some(Token::Dot(directive)) = self.peek() else {
                return match self.eat_sign(b';') {
                    true => Ok(()),
                    false => self.wrong("a directive"),
                };
            };
            match directive {
                "extern" => linkage.external = true,
                "visible" | "weak" | "common" => (),
                "version" | "address_size" | "file" | "loc" | "pragma" | "alias" => {
                    self.skip_line();
                    return Ok(());
                }
                "target" => {
                    self.at += 1;
                    module.target = self.name()?;
                    while self.eat_sign(b',') {
                        self.name()?;
                    }
                    return Ok(());
                }
                "section" => {
                    while self.peek() != Some(Token::Sign(b'{')) && self.peek().is_some() {
                        self.at += 1;
                    }
                    return self.skip_braces();
                }
                "entry" | "func" => {
                    self.at += 1;
                    let function = self.function(directive == "entry")?;
                    module.functions.push(function);
                    return Ok(());
                }
                _ => {
                    let variables = self.variables(&linkage)?;
                    module.variables.extend(variables);
                    return Ok(());
                }
            }
            self.at += 1;
        }
    }

    fn function(&mut self, entry: bool) -> Result<Function<'a>, Error> {
        let line = self.line();
        while matches!(self.peek(), Some(Token::Dot("attribute"))) {
            self.at += 1;
            self.sign(b'(')?;
            self.until(b')', |p| {
                p.at += 1;
                Ok(())
            })?;
        }
        let returns = match self.eat_sign(b'(') {
            true => self.until(b')', Self::parameter)?,
            false => Vec::new(),
        };
        let name = self.name()?;
        let params = match self.eat_sign(b'(') {
            true => self.until(b')', Self::parameter)?,
            false => Vec::new(),
        };
        let (mut max_threads, mut block, mut lacks) = (0, None, None);
        while let Some(Token::Dot(directive)) = self.peek() {
            self.at += 1;
            let mut numbers = Vec::new();
            while let Some(Token::Int(n)) = self.peek() {
                self.at += 1;
                numbers.push(n as u32);
                self.eat_sign(b',');
            }
            let by_axis = [0, 1, 2].map(|axis| numbers.get(axis).copied().unwrap_or(1));
            match directive {
                "maxntid" => max_threads = numbers.iter().product(),
                "reqntid" => {
                    max_threads = numbers.iter().product();
                    block = Some(by_axis);
                }
                "reqnctapercluster" if by_axis == [1, 1, 1] => {}
                "reqnctapercluster" | "blocksareclusters" => {
                    lacks = Some(format!("clusters of blocks (.{directive})"));
                }
                "pragma" => {
                    self.at += 1;
                    self.eat_sign(b';');
                }
                // Of resources, and what a launch must say.
                "minnctapersm" | "maxnctapersm" | "maxnreg" | "explicitcluster"
                | "maxclusterrank" | "noreturn" | "unique" | "align" | "alias" => {}
                other => lacks = Some(format!(".{other}")),
            }
        }
        let mut function = Function {
            name,
            entry,
            params,
            returns,
            body: None,
            max_threads,
            block,
            lacks,
            line,
        };
        if !self.eat_sign(b';') {
            self.sign(b'{')?;
            function.body = Some(self.body()?);
        }
        Ok(function)
    }

    /// `.param .u64 .ptr .global .align 1 name`, or `.reg .b32 name`.
    pub(super) fn parameter(&mut self) -> Result<Variable<'a>, Error> {
        let mut all = self.declaration(&Linkage::default())?;
        match all.len() {
            1 => Ok(all.remove(0)),
            _ => self.wrong("one parameter"),
        }
    }

    pub(super) fn variables(&mut self, linkage: &Linkage) -> Result<Vec<Variable<'a>>, Error> {
        let all = self.declaration(linkage)?;
        self.sign(b';')?;
        Ok(all)
    }

    /// A variable's space, properties, type and name; several names of one kind stand between commas.
    fn declaration(&mut self, linkage: &Linkage) -> Result<Vec<Variable<'a>>, Error> {
        let (mut space, mut ty, mut align, mut vector, mut managed) =
            (Space::Param, None, 0, 1, false);
        let mut pointer = false;
        while let Some(Token::Dot(part)) = self.peek() {
            self.at += 1;
            match part {
                "ptr" => pointer = true,
                // What a pointer that is a parameter points to.
                _ if pointer && matches!(part, "global" | "shared" | "local" | "const") => (),
                "global" => space = Space::Global,
                "const" => space = Space::Const,
                "shared" | "shared::cta" => space = Space::Shared,
                "local" => space = Space::Local,
                "param" | "reg" => space = Space::Param,
                "align" => {
                    let n = self.size()?;
                    if !pointer {
                        align = n;
                    }
                }
                "v2" => vector = 2,
                "v4" => vector = 4,
                "attribute" => {
                    self.sign(b'(')?;
                    self.until(b')', |p| {
                        managed |= p.peek() == Some(Token::Dot("managed"));
                        p.at += 1;
                        if p.eat_sign(b'(') {
                            p.until(b')', |p| p.int())?;
                        }
                        Ok(())
                    })?;
                }
                _ => match Type::named(part) {
                    Some(found) => ty = Some(found),
                    None if matches!(part, "texref" | "samplerref" | "surfref") => {
                        ty = Some(Type::B(64))
                    }
                    None => {
                        let what = format!("a variable can't be .{part}");
                        return Err(Error::at(self.line(), what));
                    }
                },
            }
        }
        let Some(ty) = ty else {
            return self.wrong("a type");
        };
        let mut all = Vec::new();
        loop {
            let name = self.name()?;
            let mut count = vector;
            while self.eat_sign(b'[') {
                count *= if self.eat_sign(b']') {
                    0
                } else {
                    let n = self.size()?;
                    self.sign(b']')?;
                    n
                };
            }
            let mut init = Vec::new();
            if self.eat_sign(b'=') {
                self.init(ty, &mut init)?;
            }
            count = if count == 0 { init.len() } else { count };
            let align = if align == 0 {
                ty.bytes() * vector
            } else {
                align
            };
            let external = linkage.external;
            all.push(Variable {
                space,
                name,
                ty,
                align,
                count,
                init,
                external,
                managed,
            });
            // A comma may also be what comes between parameters.
            if !matches!(
                (self.peek(), self.after(1)),
                (Some(Token::Sign(b',')), Some(Token::Name(_)))
            ) {
                return Ok(all);
            }
            self.at += 1;
        }
    }

    fn init(&mut self, ty: Type, out: &mut Vec<Init<'a>>) -> Result<(), Error> {
        if self.eat_sign(b'{') {
            return self.until(b'}', |p| p.init(ty, out)).map(|_| ());
        }
        let value = match self.peek() {
            Some(Token::F32(bits)) => {
                self.at += 1;
                Init::Bits(match ty {
                    Type::F(64) => (f32::from_bits(bits) as f64).to_bits(),
                    _ => bits.into(),
                })
            }
            Some(Token::F64(bits)) => {
                self.at += 1;
                Init::Bits(match ty {
                    Type::F(32) => (f64::from_bits(bits) as f32).to_bits().into(),
                    _ => bits,
                })
            }
            Some(Token::Name("generic")) => {
                self.at += 1;
                self.sign(b'(')?;
                let name = self.name()?;
                self.sign(b')')?;
                Init::Address(name, self.offset()?)
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                Init::Address(name, self.offset()?)
            }
            _ => Init::Bits(self.int()? as u64),
        };
        out.push(value);
        Ok(())
    }

    /// `+4`, `-4`, `+-4`, or nothing.
    pub(super) fn offset(&mut self) -> Result<i64, Error> {
        let minus = self.peek() == Some(Token::Sign(b'-'));
        match self.eat_sign(b'+') || minus {
            true => Ok(self.int()? as i64),
            false => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
.version 9.0
.target sm_90
.address_size 64
.extern .func (.param .b32 func_retval0) vprintf (.param .b64 vprintf_param_0, .param .b64 vprintf_param_1);
.global .align 4 .b8 table[8] = {1, 2, 0xff};
.visible .const .align 4 .f32 cf[2] = {0f3F800000, 1.5};
.global .align 8 .u64 where = generic(table)+4;
.global .attribute(.managed) .align 4 .b8 mg[16];
.extern .shared .align 16 .b8 s[];
.visible .entry k(
    .param .u64 .ptr .global .align 1 k_param_0,
    .param .align 8 .b8 k_param_1[24]
)
.maxntid 16, 16, 1
.minnctapersm 2
{
    .reg .pred %p<2>;
    .reg .b32 %r<3>, %x;
    .local .align 8 .b8 __local_depot0[8];
    .loc 1 2 3
    ld.param.u64 %rd1, [k_param_0+8];
    @!%p1 bra $L_1;
    shfl.sync.down.b32 %r1|%p1, %r2, 16, 31, -1;
    { .param .b64 param0; st.param.b64 [param0], %rd1;
      call.uni (retval0), vprintf, (param0, param1); }
$L_1:
    mov.u32 %r1, %tid.x;
    ret;
}
"#;

    #[test]
    fn a_module() {
        let m = parse(TEXT).unwrap();
        assert_eq!(m.target, "sm_90");
        let names: Vec<_> = m.variables.iter().map(|v| v.name).collect();
        assert_eq!(names, ["table", "cf", "where", "mg", "s"]);
        assert_eq!(
            m.variables[0].init,
            [Init::Bits(1), Init::Bits(2), Init::Bits(255)]
        );
        assert_eq!(m.variables[1].init[1], Init::Bits(1.5f32.to_bits().into()));
        assert_eq!(m.variables[2].init, [Init::Address("table", 4)]);
        assert!(m.variables[3].managed && m.variables[3].size() == 16);
        assert!(m.variables[4].external && m.variables[4].size() == 0);
        let [vprintf, k] = &m.functions[..] else {
            panic!()
        };
        assert!(vprintf.body.is_none() && vprintf.returns.len() == 1 && vprintf.params.len() == 2);
        assert!(k.entry && k.max_threads == 256);
        assert_eq!((k.params[1].align, k.params[1].size()), (8, 24));
        let body = k.body.as_ref().unwrap();
        let instructions: Vec<_> = body
            .iter()
            .filter_map(|s| match s {
                Statement::Instruction(i) => Some(i),
                _ => None,
            })
            .collect();
        assert_eq!(
            instructions[0].operands[1],
            Operand::Address("k_param_0", 8)
        );
        assert_eq!(instructions[1].guard, Some(("%p1", true)));
        assert_eq!(instructions[2].operands[0], Operand::Both("%r1", "%p1"));
        assert_eq!(instructions[2].operands[3], Operand::Int(31));
        assert_eq!(instructions[4].operands.len(), 3);
        assert_eq!(instructions[5].operands[1], Operand::Name("%tid", "x"));
        assert_eq!(instructions[5].line, 28);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let e = parse(".version 9.0\n.visible .entry k()\n{ add.s32 %r1 %r2; }").unwrap_err();
        assert_eq!(e.line, 3);
        assert!(e.to_string().contains("','"), "{e}");
    }
}
