"""Actors: a class in a process of its own. Its state stays there, and its methods run one at a time, so no lock."""

import linckia


@linckia.remote
class Account:
    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        self.balance += amount
        return self.balance

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError(f"{self.owner} has {self.balance}, not {amount}")
        self.balance -= amount
        return self.balance


@linckia.remote
def pay_in(account, times):
    """Handles travel: this task runs elsewhere and calls the same actor."""
    return linckia.get([account.deposit.remote(1) for _ in range(times)])[-1]


with linckia.init():
    ada = Account.options(name="ada").remote("Ada", balance=10)
    linckia.get([pay_in.remote(ada, 100) for _ in range(5)])

    same = linckia.get_actor("ada")  # by name, from anywhere in the cluster
    print("balance after 500 deposits by five tasks:", linckia.get(same.withdraw.remote(0)))
    assert linckia.get(same.withdraw.remote(510)) == 0

    try:
        linckia.get(same.withdraw.remote(1))
    except ValueError as error:  # the exception that the method raised, with its traceback
        print("refused:", str(error).strip().splitlines()[-1])
    else:
        raise AssertionError("the bank gave money away")
