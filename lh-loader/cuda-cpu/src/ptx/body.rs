//! A function's body: statements, instructions, operands.

use super::lex::Token;
use super::parse::{Linkage, Parser};
use super::*;

impl<'a> Parser<'a> {
    pub(super) fn body(&mut self) -> Result<Vec<Statement<'a>>, Error> {
        let mut all = Vec::new();
        let mut depth = 1;
        loop {
            match (self.peek(), self.after(1)) {
                (Some(Token::Sign(b'{')), _) => {
                    self.at += 1;
                    depth += 1;
                    all.push(Statement::Begin);
                }
                (Some(Token::Sign(b'}')), _) => {
                    self.at += 1;
                    depth -= 1;
                    if depth == 0 {
                        return Ok(all);
                    }
                    all.push(Statement::End);
                }
                (Some(Token::Sign(b';')), _) => self.at += 1,
                (Some(Token::Name(label)), Some(Token::Sign(b':'))) => {
                    self.at += 2;
                    all.push(self.labelled(label)?);
                }
                (Some(Token::Dot("loc" | "file")), _) => self.skip_line(),
                (Some(Token::Dot("pragma")), _) => self.at += 2,
                (Some(Token::Dot("reg")), _) => self.registers(&mut all)?,
                (Some(Token::Dot(_)), _) => {
                    let variables = self.variables(&Linkage::default())?;
                    all.extend(variables.into_iter().map(Statement::Variable));
                }
                (Some(_), _) => {
                    let instruction = self.instruction()?;
                    all.push(Statement::Instruction(instruction));
                }
                (None, _) => return self.wrong("'}'"),
            }
        }
    }

    fn labelled(&mut self, label: &'a str) -> Result<Statement<'a>, Error> {
        if self.eat(Token::Dot("branchtargets")) {
            let targets = self.until(b';', Self::name)?;
            return Ok(Statement::Targets(label, targets));
        }
        if self.eat(Token::Dot("calltargets")) {
            self.until(b';', Self::name)?;
            return Ok(Statement::Prototype(label, Vec::new(), Vec::new()));
        }
        if self.eat(Token::Dot("callprototype")) {
            let returns = match self.eat_sign(b'(') {
                true => self.until(b')', Self::parameter)?,
                false => Vec::new(),
            };
            self.name()?;
            let params = match self.eat_sign(b'(') {
                true => self.until(b')', Self::parameter)?,
                false => Vec::new(),
            };
            self.sign(b';')?;
            return Ok(Statement::Prototype(label, returns, params));
        }
        Ok(Statement::Label(label))
    }

    /// `.reg .b32 %r<5>, %x;`
    fn registers(&mut self, all: &mut Vec<Statement<'a>>) -> Result<(), Error> {
        self.at += 1;
        let mut ty = None;
        while let Some(Token::Dot(part)) = self.peek() {
            self.at += 1;
            ty = Type::named(part).or(ty);
        }
        let Some(ty) = ty else {
            return self.wrong("a type");
        };
        loop {
            let name = self.name()?;
            let count = match self.eat_sign(b'<') {
                true => {
                    let n = self.size()?;
                    self.sign(b'>')?;
                    Some(n as u32)
                }
                false => None,
            };
            all.push(Statement::Registers(ty, name, count));
            if self.eat_sign(b';') {
                return Ok(());
            }
            self.sign(b',')?;
        }
    }

    fn instruction(&mut self) -> Result<Instruction<'a>, Error> {
        let line = self.line();
        let guard = match self.eat_sign(b'@') {
            true => {
                let negated = self.eat_sign(b'!');
                Some((self.name()?, negated))
            }
            false => None,
        };
        let mut name = vec![self.name()?];
        while let Some(Token::Dot(part)) = self.peek() {
            self.at += 1;
            name.push(part);
        }
        let operands = self.until(b';', Self::operand)?;
        Ok(Instruction {
            guard,
            name,
            operands,
            line,
        })
    }

    fn operand(&mut self) -> Result<Operand<'a>, Error> {
        match self.peek() {
            Some(Token::Sign(b'!')) => {
                self.at += 1;
                Ok(Operand::Not(self.name()?))
            }
            Some(Token::Sign(b'[')) => {
                self.at += 1;
                let address = match self.peek() {
                    Some(Token::Name(base)) => {
                        self.at += 1;
                        Operand::Address(base, self.offset()?)
                    }
                    _ => Operand::Address("", self.int()? as i64),
                };
                if self.eat_sign(b',') {
                    // A texture and its coordinates.
                    let coordinates = self.operand()?;
                    self.sign(b']')?;
                    return Ok(Operand::List(vec![address, coordinates]));
                }
                self.sign(b']')?;
                Ok(address)
            }
            Some(Token::Sign(b'{')) => {
                self.at += 1;
                Ok(Operand::Vector(self.until(b'}', Self::operand)?))
            }
            Some(Token::Sign(b'(')) => {
                self.at += 1;
                Ok(Operand::List(self.until(b')', Self::operand)?))
            }
            Some(Token::F32(bits)) => {
                self.at += 1;
                Ok(Operand::F32(bits))
            }
            Some(Token::F64(bits)) => {
                self.at += 1;
                Ok(Operand::F64(bits))
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                if self.eat_sign(b'|') {
                    return Ok(Operand::Both(name, self.name()?));
                }
                if let Some(Token::Dot(part)) = self.peek() {
                    self.at += 1;
                    return Ok(Operand::Name(name, part));
                }
                match self.offset()? {
                    0 => Ok(Operand::Name(name, "")),
                    offset => Ok(Operand::Sum(name, offset)),
                }
            }
            _ => Ok(Operand::Int(self.int()?)),
        }
    }
}
