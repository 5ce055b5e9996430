"""Very deep programs run op by op in their own order, without a plan made before the first step.

Paddle's executor first works out which ops each op has to wait for, and looks their variables up one by one among all:
65 s and 3.6 GB for training a network of 302 layers, and out of reach for 1,202. Paddle still has the executor that
does no such thing, with which it once ran all programs. It gives the same numbers, bit for bit, and takes 0.02 ms an op
longer, since it chooses the ops' kernels again in each step.
"""
import numpy as np
import paddle

DEEP = 2500  # ops; a training program has 12 or 13 for each layer, and one Adam for all


def is_deep(program):
    """Whether a program has very many ops, and none that Paddle has to connect with other machines first."""
    ops = program.global_block().ops
    return len(ops) > DEEP and all(op.type != "all_reduce" for op in ops)


class DeepProgram:
    """A very deep program, prepared at its first run; it always fetches what it did then."""

    def __init__(self, program):
        self.program, self.nothing = program, paddle.static.Program()
        self.ops = None

    def run(self, executor, feed, fetch_list, scope):
        """Run it as `paddle.static.Executor.run` does."""
        names, core = [variable.name for variable in fetch_list or ()], executor._default_executor
        if self.ops is None:
            self.scope = scope.new_scope()  # for what is not kept between runs
            core.create_variables(self.program.desc, self.scope, 0)
            self.ops = core.prepare(self.program.desc, 0, names, False)
        for name, array in {**(feed or {}), **learning_rate(self.program)}.items():
            self.scope.find_var(name).get_tensor().set(array, executor.place)
        # Paddle notes in `run` alone which executor is at work in this thread, and so whose oneDNN's kept results are.
        core.run(self.nothing.desc, self.scope, 0, False, False, [])
        core.run_prepared_ctx(self.ops, self.scope, False, False, False)
        return [np.array(self.scope.find_var(name).get_tensor()) for name in names]

    def close(self):
        """Its variables belong to the scope that it ran in, and go with that."""


def learning_rate(program):
    """What a program's schedule, if it has one, feeds to it: {name: float32 []}."""
    schedule = getattr(program, "lr_scheduler", None)
    return {schedule._var_name: np.array(schedule(), np.float32)} if schedule else {}
