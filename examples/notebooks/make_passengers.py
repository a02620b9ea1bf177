"""Writes passengers.csv: an invented ship's passengers and who survived. The same seed gives the same file.

    python3 make_passengers.py > passengers.csv

Nothing in it is about real people. Chances are made so that women, children, and the upper decks fare better, with
enough chance that no model is right about everyone; some ages and cabins are missing, as in data from life.
"""
import csv
import random
import sys

NUMBER, SEED = 640, 1912

WOMEN = "Ada Berta Clara Dora Emma Frieda Greta Hanna Ida Johanna Karla Lina Maria Nora Olga Paula Rosa Sofia".split()
MEN = "Anton Bruno Carl David Emil Franz Georg Hans Igor Jakob Karl Ludwig Max Nils Otto Paul Rudolf Sven".split()
FAMILIES = "Adler Bauer Dahl Ek Fischer Graf Holm Iversen Jensen Koch Lund Moreau Novak Olsen Petit Roth Sand Voss".split()
PORTS = ["Amber Bay", "Cliffhaven", "Saltmouth"]


def passenger(number, chance):
    deck_class = chance.choices([1, 2, 3], [22, 25, 53])[0]
    woman = chance.random() < 0.37
    age = max(0.5, min(79.0, chance.gauss(41 - 5 * deck_class, 13)))
    child = age < 14
    relatives = chance.choices([0, 1, 2, 3, 5], [58, 20, 12, 7, 3])[0]
    fare = round(chance.lognormvariate({1: 4.2, 2: 2.9, 3: 2.3}[deck_class], 0.35) * (1 + relatives / 2), 2)
    title = ("Mrs" if age > 24 else "Miss") if woman else ("Master" if child else "Mr")
    odds = 0.16 + 0.52 * woman + 0.24 * child + 0.15 * (2 - deck_class) - 0.05 * max(0, relatives - 2)
    survived = chance.random() < min(0.97, max(0.03, odds))
    cabin = f"{'ABC'[deck_class - 1]}{chance.randint(1, 90)}" if chance.random() < {1: 0.8, 2: 0.3, 3: 0.05}[deck_class] else ""
    return {
        "number": number, "survived": int(survived), "class": deck_class,
        "name": f"{chance.choice(FAMILIES)}, {title} {chance.choice(WOMEN if woman else MEN)}",
        "sex": "female" if woman else "male", "age": "" if chance.random() < 0.19 else f"{age:.1f}",
        "relatives": relatives, "fare": f"{fare:.2f}", "cabin": cabin, "port": chance.choices(PORTS, [18, 10, 72])[0],
    }


def main():
    chance = random.Random(SEED)
    rows = [passenger(number, chance) for number in range(1, NUMBER + 1)]
    writer = csv.DictWriter(sys.stdout, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
