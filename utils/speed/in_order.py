"""Very deep programs run op by op in their own order, without a plan made before the first step.

Paddle's executor first works out which ops each op has to wait for, and looks their variables up one by one among all:
65 s and 3.6 GB for training a network of 302 layers, and out of reach for 1,202. Paddle still has the executor that
does no such thing, with which it once ran all programs. It gives the same numbers, bit for bit, and takes 0.02 ms an op
longer, since it chooses the ops' kernels anew in each step.
"""
import numpy as np
import paddle

DEEP = 2500  # ops; a training program has 12 or 13 for each layer, and one Adam for all


def is_deep(program):
    """Whether a program has very many ops, and none that Paddle has to connect with other machines first."""
    ops = program.global_block().ops
    return len(ops) > DEEP and all(op.type != "all_reduce" for op in ops)


class DeepExecutor(paddle.static.Executor):
    """Paddle's executor on a CPU, but for these programs, which are very deep."""

    def __init__(self, place, programs):
        super().__init__(place)
        self.prepared, self.nothing = dict.fromkeys(programs), paddle.static.Program()

    def run(self, program=None, feed=None, fetch_list=None, scope=None, **options):
        """Run a program as `paddle.static.Executor.run` does; a deep one always fetches what it did at first."""
        if program not in self.prepared:
            return super().run(program, feed, fetch_list=fetch_list, scope=scope, **options)
        names = [variable.name for variable in fetch_list or ()]
        self.prepared[program] = self.prepared[program] or self.prepare(program, names, scope)
        ops, inner = self.prepared[program]
        for name, array in {**(feed or {}), **learning_rate(program)}.items():
            inner.find_var(name).get_tensor().set(array, self.place)
        # Paddle notes in `run` alone which executor is at work in this thread, and so whose oneDNN's kept results are.
        self._default_executor.run(self.nothing.desc, inner, 0, False, False, [])
        self._default_executor.run_prepared_ctx(ops, inner, False, False, False)
        return [np.array(inner.find_var(name).get_tensor()) for name in names]

    def prepare(self, program, names, scope):
        """The program's ops, which keep the variables of these names, and a scope in `scope` for what is not kept."""
        inner = (scope or paddle.static.global_scope()).new_scope()
        self._default_executor.create_variables(program.desc, inner, 0)
        return self._default_executor.prepare(program.desc, 0, names, False), inner


def learning_rate(program):
    """What a program's schedule, if it has one, feeds to it: {name: float32 []}."""
    schedule = getattr(program, "lr_scheduler", None)
    return {schedule._var_name: np.array(schedule(), np.float32)} if schedule else {}
