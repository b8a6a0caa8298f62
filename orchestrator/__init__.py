"""The engine, what it executes, and the words for what happens: events, errors, models, profiles."""
