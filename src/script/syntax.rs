//! Our `try … catch`: the same words as Rhai's, but `catch (e)` always gets the same map.
//!
//! Rhai hands `catch` the bare thrown value, without the place it came from, and a map of another shape for its own errors.
//! So the parser is given `try { … } { let e; ‹bind› … }` for `try { … } catch (e) { … }`, one token for one token, and
//! `try` and `‹bind›` are custom syntax of ours. Scopes, closures and positions stay as the author wrote them.

use super::diagnostics;
use super::host::Host;
use rhai::{
    Dynamic, Engine, EvalAltResult, EvalContext, Expression, ImmutableString, LexError, ParseError, ParseErrorType, Position,
    Token,
};
use std::cell::{Cell, RefCell};

/// The custom syntax that puts the caught error into the variable just declared.
/// Its name is a semicolon because Rhai then takes it for a whole statement; no semicolon in a script becomes this token.
const BIND: &str = ";";
const TRY: &str = "try";

/// Where in `catch (e) {` the tokenizer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Catch,
    Open,
    Name,
    Close,
}

thread_local! {
    /// One thread tokenizes one text at a time.
    static SEEN: Cell<Seen> = const { Cell::new(Seen::Nothing) };
    /// The place of the token before.
    static LAST: Cell<(Option<usize>, Option<usize>)> = const { Cell::new((None, None)) };
    /// The errors on their way from `try` to the variable of their `catch`.
    static CAUGHT: RefCell<Vec<Dynamic>> = const { RefCell::new(Vec::new()) };
}

/// To be called before each text is parsed: the one before may have ended in the middle.
pub fn reset() {
    SEEN.set(Seen::Nothing);
    LAST.set((None, None));
}

/// Teaches the engine our `try … catch`, and `type_of` the classes of objects.
pub fn register(engine: &mut Engine) {
    #[allow(deprecated, reason = "Rhai marks what may still change so; the version is pinned and tests cover it")]
    engine.on_parse_token(|token, position, _| {
        // `eval` begins another text without telling: its tokens are before the last one.
        let here = (position.line(), position.position());
        if here <= LAST.replace(here) {
            SEEN.set(Seen::Nothing);
        }
        map_token(token)
    });
    engine.register_custom_syntax_with_state_raw(TRY, parse_try, false, |context, inputs, _| run_try(context, inputs));
    engine.register_custom_syntax_with_state_raw(
        BIND,
        |_, _, _| Ok(None),
        false,
        |context, _, _| {
            let value = CAUGHT.with_borrow_mut(Vec::pop).unwrap_or_default();
            let last = context.scope().len().saturating_sub(1);
            let name = context.scope().iter().nth(last).map(|(name, ..)| name.to_owned());
            if let Some(variable) = name.and_then(|n| context.scope_mut().get_mut(&n)) {
                *variable = value;
            }
            Ok(Dynamic::UNIT)
        },
    );
}

fn map_token(token: Token) -> Token {
    let expected = |what: &str| {
        SEEN.set(Seen::Nothing);
        let error = LexError::ImproperSymbol(String::new(), format!("'catch' must be followed by {what}"));
        Token::LexError(Box::new(error))
    };
    let (next, seen) = match (SEEN.get(), token) {
        (Seen::Nothing, Token::Try) => (Token::Reserved(Box::new(TRY.into())), Seen::Nothing),
        (Seen::Nothing, Token::Catch) => (Token::LeftBrace, Seen::Catch),
        (Seen::Nothing, Token::Reserved(name)) if *name == "type_of" => {
            (Token::Identifier(Box::new("class_of".into())), Seen::Nothing)
        }
        (Seen::Nothing, token) => (token, Seen::Nothing),
        (Seen::Catch, Token::LeftBrace) => (Token::SemiColon, Seen::Nothing),
        (Seen::Catch, Token::LeftParen) => (Token::Let, Seen::Open),
        (Seen::Catch, _) => return expected("'{' or '(name) {'"),
        (Seen::Open, Token::Identifier(name)) => (Token::Identifier(name), Seen::Name),
        (Seen::Open, _) => return expected("the name of a variable in '(…)'"),
        (Seen::Name, Token::RightParen) => (Token::SemiColon, Seen::Close),
        (Seen::Name, _) => return expected("')' after the variable"),
        (Seen::Close, Token::LeftBrace) => (Token::Custom(Box::new(BIND.into())), Seen::Nothing),
        (Seen::Close, _) => return expected("'{' after the variable"),
    };
    SEEN.set(seen);
    next
}

fn parse_try(symbols: &[ImmutableString], next: &str, _: &mut Dynamic) -> Result<Option<ImmutableString>, ParseError> {
    match symbols.len() {
        1 => Ok(Some("$block$".into())),
        2 if next == "{" => Ok(Some("$block$".into())),
        2 => {
            let missing = ParseErrorType::MissingToken("catch".into(), "after the block of 'try'".into());
            Err(ParseError(Box::new(missing), Position::NONE))
        }
        _ => Ok(None),
    }
}

fn run_try(context: &mut EvalContext, inputs: &[Expression]) -> Result<Dynamic, Box<EvalAltResult>> {
    let error = match context.eval_expression_tree(&inputs[0]) {
        Err(error) if !error.is_pseudo_error() && error.is_catchable() => error,
        other => return other,
    };
    let host = Host::of_eval(context);
    if host.cx.cancel.is_cancelled() {
        // Being stopped is not an error that a script can carry on after.
        return Err(error);
    }
    let source = context.source().unwrap_or_default().to_owned();
    let explained = diagnostics::explain(context.engine(), &host, &error, &source);
    let waiting = CAUGHT.with_borrow(Vec::len);
    CAUGHT.with_borrow_mut(|caught| caught.push(diagnostics::to_map(&explained).into()));
    let outcome = context.eval_expression_tree(&inputs[1]);
    // `catch { … }` without a variable leaves it there.
    CAUGHT.with_borrow_mut(|caught| caught.truncate(waiting));
    match outcome {
        Ok(value) => Ok(value),
        // `throw;` throws on what was caught.
        Err(again) if matches!(&*again, EvalAltResult::ErrorRuntime(value, _) if value.is_unit()) => Err(explained.into()),
        Err(other) => Err(other),
    }
}
