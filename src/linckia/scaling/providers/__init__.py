"""Where nodes come from: one module per provider, all with the surface of ``base.Provider``."""
