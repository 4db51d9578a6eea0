# Prints the figures of the forecast benchmark from the folder OUT, where forecast_data.py, the peers and our own
# commands have left theirs.
import csv, json, os
import numpy as np, pandas as pd
OUT = os.environ['OUT']
seconds = lambda name: float(open(f'{OUT}/{name}.seconds').read())

def m4():
    read = lambda path, skip: {r[0]: np.array([float(c) for c in r[1:] if c.strip()]) for r in list(csv.reader(open(path)))[skip:]}
    history, truth = read(f'{OUT}/m4.csv', 1), read(f'{OUT}/m4-truth.csv', 0)
    ours = pd.read_csv(f'{OUT}/m4-ours.csv'); ours['id'] = ours['id'].astype(str)
    rows = []
    for name, f in ours.groupby('id', sort=False):
        h, y = history[name], truth[name]
        q = f.sort_values('step')[['0.025', '0.5', '0.975']].values.T
        scale = np.mean(np.abs(h[24:] - h[:-24])); naive = np.tile(h[-24:], 2)
        smape = lambda p: np.mean(200 * np.abs(y - p) / (np.abs(y) + np.abs(p)))
        mase = lambda p: np.mean(np.abs(y - p)) / scale
        width = np.mean(q[2] - q[0] + 40 * np.maximum(q[0] - y, 0) + 40 * np.maximum(y - q[2], 0)) / scale
        rows.append((smape(q[1]), mase(q[1]), smape(naive), mase(naive), width, np.mean((y >= q[0]) & (y <= q[2]))))
    a = np.mean(rows, axis=0)
    owa, snaive = (a[0] / 18.383 + a[1] / 2.395) / 2, (a[2] / 18.383 + a[3] / 2.395) / 2
    print(f'## M4 Hourly, the last 48 points of the training part ({len(rows)} series)\n')
    print('| method | sMAPE | MASE | OWA | of seasonal naive | MSIS | coverage of 95 % | CPU s |\n|---|---|---|---|---|---|---|---|')
    print(f'| seasonal naive | {a[2]:.3f} | {a[3]:.3f} | {snaive:.3f} | 1.000 | | | |')
    print(f'| ours | {a[0]:.3f} | {a[1]:.3f} | {owa:.3f} | {owa/snaive:.3f} | {a[4]:.2f} | {a[5]:.3f} | {seconds("m4"):.0f} |\n')

def vm():
    ours = json.load(open(f'{OUT}/vm-ours.json'))
    peers = pd.read_csv(f'{OUT}/vm_peers_all.csv').set_index(['target', 'method'])
    print(f'## VM traces: geometric mean of pinball against persistence / median MASE / coverage of .95\n\nours {seconds("vm"):.0f} CPU s, peers {seconds("vm-peers"):.0f} CPU s\n')
    print('| horizon | ours | best peer | EWMA | history quantile 7 d | NNLS stack | pooled GBT (scikit-learn) | ours, worst data set |\n|---|---|---|---|---|---|---|---|')
    target = {'15m': 'pt3', '1h': 'pt12', '24h': 'pt288', 'peak:1h': 'mx12', 'peak:24h': 'mx288'}
    for r in ours['pooled']:
        if r['method'] != 'ours':
            continue
        p = peers.loc[target[r['horizon']]]
        best = p['gm_pinball_vs_persist'].idxmin()
        cell = lambda m: f'{p.loc[m, "gm_pinball_vs_persist"]:.3f} / {p.loc[m, "med_mase"]:.3f} / {p.loc[m, "cov95"]:.3f}'
        worst = max((g for g in ours['groups'] if g['method'] == 'ours' and g['horizon'] == r['horizon']), key=lambda g: g['pinball_vs_persistence'])
        print(f'| {r["horizon"]} | **{r["pinball_vs_persistence"]:.3f} / {r["median_mase"]:.3f} / {r["coverage"][2]:.3f}** | {p.loc[best, "gm_pinball_vs_persist"]:.3f} {best} | '
              + ' | '.join(cell(m) for m in ('ewma30m', 'history-quantile-7d', 'nnls-stack', 'hgbt-global-quantile'))
              + f' | {worst["pinball_vs_persistence"]:.3f} {worst["group"]} |')
    print()

def contention():
    peers = pd.read_csv(f'{OUT}/contention_peers.csv')
    print('## Contention: average precision at onset / area under the curve; recall of onsets at a precision of .8, .5, .25; Brier skill\n')
    print('| pool, lead | ours | scikit-learn GBT | best simple rule | our recall .8 / .5 / .25 | its recall .5 / .25 | our Brier skill | its |\n|---|---|---|---|---|---|---|---|')
    for pool in ('azure-v1', 'bitbrains'):
        for s in json.load(open(f'{OUT}/contention-{pool}.json')):
            if s['method'] != 'ours':
                continue
            p = peers[(peers.pool == pool) & (peers.lead_min == s['lead_min'])].set_index('method')
            g, rule = p.loc['hgbt-classifier'], p.drop('hgbt-classifier')['AP_onset']
            rate = g['prevalence']; r = s['recall_at_precision']
            print(f'| {pool} {s["lead_min"]} min | **{s["ap_onset"]:.3f}** / {s["auc_onset"]:.3f} | {g["AP_onset"]:.3f} / {g["AUC_onset"]:.3f} | {rule.max():.3f} {rule.idxmax()} | '
                  f'{r["0.8"]:.3f} / {r["0.5"]:.3f} / {r["0.25"]:.3f} | {g["recall_at_P50"]:.3f} / {g["recall_at_P25"]:.3f} | {s["brier_skill"]:.3f} | {1 - g["brier"]/(rate*(1-rate)):.3f} |')
    print()

m4(); vm(); contention()
print('## Speed\n\n' + open(f'{OUT}/speed.txt').read())
