//! A script, read and encoded once, to be executed several times.

use anyhow::{Result, anyhow};
use wast::token::Id;
use wast::{QuoteWat, QuoteWatTest, Wast, WastDirective, WastExecute, WastInvoke, WastRet, Wat};

use crate::values::{Argument, Expected};

/// The directives of a script.
pub struct Script {
    pub(crate) steps: Vec<Step>,
}

/// One directive and the line where it begins.
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) directive: Directive,
    /// WebAssembly 2.0 contradicts it: it must not hold.
    pub(crate) overruled: bool,
}

pub(crate) enum Directive {
    /// Compile and instantiate.
    Module {
        name: Option<String>,
        source: Source,
    },
    /// Compile only.
    Definition {
        name: Option<String>,
        source: Source,
    },
    /// Instantiate a definition.
    Instance {
        name: Option<String>,
        definition: Option<String>,
    },
    /// Offer the exports of an instance for import.
    Register {
        name: String,
        instance: Option<String>,
    },
    /// Do something, the result of which is of no interest.
    Action(Action),
    AssertReturn {
        action: Action,
        expected: Vec<Expected>,
    },
    AssertTrap {
        action: Action,
        message: String,
    },
    AssertExhaustion {
        action: Action,
        message: String,
    },
    /// The module is malformed or invalid.
    AssertRejected {
        source: Source,
    },
    AssertUnlinkable {
        source: Source,
        message: String,
    },
    /// Nothing that belongs to WebAssembly 2.0.
    Unsupported(&'static str),
}

pub(crate) enum Action {
    Invoke { instance: Option<String>, function: String, arguments: Vec<Argument> },
    Get { instance: Option<String>, global: String },
    Instantiate(Source),
}

/// A module as the file gives it.
pub(crate) enum Source {
    Binary(Vec<u8>),
    /// What a file quotes, in the text format, and perhaps not UTF-8.
    Text(Vec<u8>),
    /// The file's own text could not be encoded.
    Broken(String),
}

impl Script {
    /// Reads a script. Modules in it that cannot be encoded are no error yet: scripts assert that of
    /// some.
    ///
    /// `is_overruled` tells by its line, counted from 1, whether a directive contradicts the version
    /// of the specification that is meant. Such a directive is executed, too, and must not hold.
    ///
    /// # Errors
    ///
    /// Fails, with line and column, if the text is no script.
    pub fn read(text: &str, is_overruled: impl Fn(usize) -> bool) -> Result<Self> {
        let place = |span: wast::token::Span| {
            let (line, column) = span.linecol_in(text);
            (line + 1, column + 1)
        };
        let located = |error: wast::Error| {
            let (line, column) = place(error.span());
            anyhow!("line {line}, column {column}: {}", error.message())
        };
        let mut lexer = wast::lexer::Lexer::new(text);
        // Some files test that names may look confusing.
        lexer.allow_confusing_unicode(true);
        let buffer = wast::parser::ParseBuffer::new_with_lexer(lexer);
        let buffer = buffer.map_err(located)?;
        let directives = wast::parser::parse::<Wast<'_>>(&buffer).map_err(located)?;
        let steps = directives.directives.into_iter().map(|directive| {
            let (line, _) = place(directive.span());
            Step { line, directive: convert(directive), overruled: is_overruled(line) }
        });
        Ok(Self { steps: steps.collect() })
    }

    /// How many assertions there are.
    pub fn assertions(&self) -> usize {
        self.steps.iter().filter(|step| step.is_assertion()).count()
    }
}

impl Step {
    /// Whether this counts among the assertions. What other directives do must succeed, too.
    pub(crate) fn is_assertion(&self) -> bool {
        use Directive as D;
        !self.overruled
            && matches!(
                self.directive,
                D::AssertReturn { .. }
                    | D::AssertTrap { .. }
                    | D::AssertExhaustion { .. }
                    | D::AssertRejected { .. }
                    | D::AssertUnlinkable { .. }
            )
    }
}

fn convert(directive: WastDirective<'_>) -> Directive {
    use WastDirective as D;
    match directive {
        D::Module(module) => {
            Directive::Module { name: owned(module.name()), source: source(module) }
        }
        D::ModuleDefinition(module) => {
            Directive::Definition { name: owned(module.name()), source: source(module) }
        }
        D::ModuleInstance { instance, module, .. } => {
            Directive::Instance { name: owned(instance), definition: owned(module) }
        }
        D::Register { name, module, .. } => {
            Directive::Register { name: name.to_owned(), instance: owned(module) }
        }
        D::Invoke(call) => Directive::Action(invoke(call)),
        D::AssertReturn { exec, results, .. } => Directive::AssertReturn {
            action: action(exec),
            expected: results.into_iter().map(expected).collect(),
        },
        D::AssertTrap { exec, message, .. } => {
            Directive::AssertTrap { action: action(exec), message: message.to_owned() }
        }
        D::AssertExhaustion { call, message, .. } => {
            Directive::AssertExhaustion { action: invoke(call), message: message.to_owned() }
        }
        D::AssertMalformed { module, .. } | D::AssertInvalid { module, .. } => {
            Directive::AssertRejected { source: source(module) }
        }
        D::AssertUnlinkable { module, message, .. } => Directive::AssertUnlinkable {
            source: source(QuoteWat::Wat(module)),
            message: message.to_owned(),
        },
        D::AssertInvalidCustom { .. } | D::AssertMalformedCustom { .. } => {
            Directive::Unsupported("an assertion about annotations")
        }
        D::AssertException { .. } => Directive::Unsupported("assert_exception"),
        D::AssertSuspension { .. } => Directive::Unsupported("assert_suspension"),
        D::Thread(_) | D::Wait { .. } => Directive::Unsupported("threads"),
    }
}

fn action(execute: WastExecute<'_>) -> Action {
    match execute {
        WastExecute::Invoke(call) => invoke(call),
        WastExecute::Wat(module) => Action::Instantiate(source(QuoteWat::Wat(module))),
        WastExecute::Get { module, global, .. } => {
            Action::Get { instance: owned(module), global: global.to_owned() }
        }
    }
}

fn invoke(call: WastInvoke<'_>) -> Action {
    Action::Invoke {
        instance: owned(call.module),
        function: call.name.to_owned(),
        arguments: call.args.into_iter().map(Argument::from).collect(),
    }
}

fn expected(result: WastRet<'_>) -> Expected {
    match result {
        WastRet::Core(result) => result.into(),
        _ => Expected::Unsupported,
    }
}

fn source(mut module: QuoteWat<'_>) -> Source {
    if matches!(module, QuoteWat::Wat(Wat::Component(_)) | QuoteWat::QuoteComponent(..)) {
        return Source::Broken("components are no part of core WebAssembly".to_owned());
    }
    match module.to_test() {
        Ok(QuoteWatTest::Binary(bytes)) => Source::Binary(bytes),
        Ok(QuoteWatTest::Text(text)) => Source::Text(text),
        Err(error) => Source::Broken(error.to_string()),
    }
}

fn owned(id: Option<Id<'_>>) -> Option<String> {
    id.map(|id| id.name().to_owned())
}
