//! Script functions, one file per noun. Thin: arguments in, one domain call, result out.
