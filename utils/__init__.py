"""What the chapter's two scripts stand on; each file is one room, its docstring says what for."""
