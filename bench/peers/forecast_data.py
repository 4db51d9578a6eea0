# Writes the inputs of the forecast benchmark into the folder OUT, exactly the series and hosts that vm_peers.py and
# contention_peers.py use: vm.csv, contention-POOL.csv with hosts-POOL.csv, and m4.csv without its last 48 points.
import gzip, os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import numpy as np, pandas as pd
from vmdata import load, fill, azure, bitbrains, active_bitbrains, R, N
OUT, HORIZON = os.environ['OUT'], 48

def columns(path, names, values):
    pd.DataFrame(dict(zip(names, values)), index=range(1, len(values[0]) + 1)).to_csv(path, index_label='row', float_format='%.7g')

series = load()
columns(f'{OUT}/vm.csv', [s[0] for s in series], [s[2] for s in series])
b = bitbrains('cpu_pct_x10', 10.)
pools = (('azure-v1', np.hstack([azure(f).iloc[:N].values for f in ('random100', 'periodic78')]).T),
         ('bitbrains', np.array([fill(b.loc[v].values) for v in active_bitbrains()])))
for pool, v in pools:
    rng = np.random.default_rng(11)
    columns(f'{OUT}/contention-{pool}.csv', [f'vm{i}' for i in range(len(v))], list(v))
    with open(f'{OUT}/hosts-{pool}.csv', 'w') as f:
        f.write('host,series,weight\n')
        for h in range(40):
            members = rng.choice(len(v), 12, replace=False)
            weights = rng.choice([1, 2, 4, 8], 12, p=[.3, .3, .25, .15])
            f.writelines(f'h{h},vm{m},{w}\n' for m, w in zip(members, weights))
with gzip.open(f'{R}/m4-hourly/Hourly-train.csv.gz', 'rt') as f, open(f'{OUT}/m4.csv', 'w') as short, open(f'{OUT}/m4-truth.csv', 'w') as truth:
    short.write(f.readline())
    for line in f:
        cells = line.rstrip('\n').split(',')
        while cells[-1].strip('" ') == '':
            cells.pop()
        short.write(','.join(cells[:-HORIZON]) + '\n')
        truth.write(','.join([cells[0]] + cells[-HORIZON:]) + '\n')
