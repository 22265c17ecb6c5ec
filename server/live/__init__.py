"""The live calls of one process: an event comes in (`reception`), is durable, is folded (`fold`), scored (`scoring`); what
follows is stored and told (`saving`, `floor`); and what falls due without an event is done by the `clockwork`. Each part
knows those before it in this list: `resources`, `timers`, `floor`, `saving`, `scoring`, `fold`, `reception`, `clockwork`.
"""
