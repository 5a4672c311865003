//! What is read of files by PyTorch, and of pickles made here.

mod files;
mod programs;
