//! Tokens and paths: what the parser does not show, because it is inside a macro.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Sees a token's neighbours in its group, its place among them, and the module that it is in.
pub(crate) type Look<'a> = dyn FnMut(&[TokenTree], usize, &[String]) + 'a;

pub(crate) fn line_of(token: &TokenTree) -> usize {
    token.span().start().line
}

pub(crate) fn is_ident(tokens: &[TokenTree], at: usize, name: &str) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == name)
}

fn is_punct(tokens: &[TokenTree], at: usize, c: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == c)
}

/// Shows `look` every token, inside macros too.
pub(crate) fn walk(stream: TokenStream, module: &mut Vec<String>, look: &mut Look<'_>) {
    let tokens: Vec<_> = stream.into_iter().collect();
    for at in 0..tokens.len() {
        look(&tokens, at, module);
        let TokenTree::Group(group) = &tokens[at] else { continue };
        let is_module =
            at >= 2 && is_ident(&tokens, at - 2, "mod") && group.delimiter() == Delimiter::Brace;
        if is_module {
            module.push(tokens[at - 1].to_string());
        }
        walk(group.stream(), module, look);
        if is_module {
            module.pop();
        }
    }
}

/// The paths that begin at this token, each with the line it ends on: several, if it is a `use` with braces.
pub(crate) fn paths(tokens: &[TokenTree], at: usize) -> Vec<(Vec<String>, usize)> {
    let starts = at == 0
        || !(at >= 3
            && is_punct(tokens, at - 1, ':')
            && matches!(tokens[at - 3], TokenTree::Ident(_)));
    let mut found = Vec::new();
    if starts && is_punct(tokens, at + 1, ':') && is_punct(tokens, at + 2, ':') {
        grow(&[], tokens, at, &mut found);
    }
    found
}

/// Adds to `found` the paths that begin with `before` and go on at this token.
fn grow(
    before: &[String],
    tokens: &[TokenTree],
    mut at: usize,
    found: &mut Vec<(Vec<String>, usize)>,
) {
    let mut path = before.to_vec();
    let mut line = tokens.get(at).map_or(0, line_of);
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(part)) if path.is_empty() || part != "self" => {
                path.push(part.to_string());
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                for part in
                    inner.split(|token| token.to_string() == ",").filter(|part| !part.is_empty())
                {
                    grow(&path, part, 0, found);
                }
                return;
            }
            _ => break,
        }
        line = line_of(&tokens[at]);
        if !(is_punct(tokens, at + 1, ':') && is_punct(tokens, at + 2, ':')) {
            break;
        }
        at += 3;
    }
    found.push((path, line));
}
