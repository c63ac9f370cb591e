//! Small dense linear algebra in double precision: what the interpreter and devices without their own use.

/// A matrix by rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub data: Vec<f64>,
}

impl Matrix {
    pub fn zeros(rows: usize, columns: usize) -> Matrix {
        Matrix { rows, columns, data: vec![0.0; rows * columns] }
    }

    pub fn identity(n: usize) -> Matrix {
        let mut m = Matrix::zeros(n, n);
        (0..n).for_each(|i| *m.at(i, i) = 1.0);
        m
    }

    pub fn get(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.columns + j]
    }

    pub fn at(&mut self, i: usize, j: usize) -> &mut f64 {
        &mut self.data[i * self.columns + j]
    }

    pub fn column(&self, j: usize) -> Vec<f64> {
        (0..self.rows).map(|i| self.get(i, j)).collect()
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// x with `m x = y`, by Gauss elimination with row pivots; `None` if the matrix is singular.
pub fn solve(mut m: Matrix, mut y: Vec<f64>) -> Option<Vec<f64>> {
    let n = y.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| m.get(*i, k).abs().total_cmp(&m.get(*j, k).abs()))?;
        if m.get(pivot, k) == 0.0 {
            return None;
        }
        (0..n).for_each(|j| m.data.swap(k * n + j, pivot * n + j));
        y.swap(k, pivot);
        for i in k + 1..n {
            let factor = m.get(i, k) / m.get(k, k);
            (k..n).for_each(|j| *m.at(i, j) -= factor * m.get(k, j));
            y[i] -= factor * y[k];
        }
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| m.get(i, j) * y[j]).sum();
        y[i] = (y[i] - known) / m.get(i, i);
    }
    Some(y)
}

/// The lower triangle L with `L L' = m`; `None` if the matrix is not positive definite.
pub fn cholesky(m: &Matrix) -> Option<Matrix> {
    let n = m.rows;
    let mut l = Matrix::zeros(n, n);
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| l.get(i, k) * l.get(j, k)).sum();
            let rest = m.get(i, j) - sum;
            *l.at(i, j) = match i == j {
                true if rest <= 0.0 || rest.is_nan() => return None,
                true => rest.sqrt(),
                false => rest / l.get(j, j),
            };
        }
    }
    Some(l)
}

/// q [rows, rank] and r [rank, columns], rank the smaller size; by Householder reflections, as LAPACK signs them.
pub fn qr(m: &Matrix) -> (Matrix, Matrix) {
    let rank = m.rows.min(m.columns);
    let mut r = m.clone();
    let mut q = Matrix::identity(m.rows);
    for k in 0..rank {
        let norm = (k..m.rows).map(|i| r.get(i, k).powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 || (k + 1..m.rows).all(|i| r.get(i, k) == 0.0) {
            continue;
        }
        let mut v: Vec<f64> = (k..m.rows).map(|i| r.get(i, k)).collect();
        v[0] += norm.copysign(v[0]);
        let square = dot(&v, &v);
        for j in 0..m.columns {
            let factor = 2.0 * (k..m.rows).map(|i| v[i - k] * r.get(i, j)).sum::<f64>() / square;
            (k..m.rows).for_each(|i| *r.at(i, j) -= factor * v[i - k]);
        }
        for i in 0..m.rows {
            let factor = 2.0 * (k..m.rows).map(|j| q.get(i, j) * v[j - k]).sum::<f64>() / square;
            (k..m.rows).for_each(|j| *q.at(i, j) -= factor * v[j - k]);
        }
    }
    let mut thin = Matrix::zeros(m.rows, rank);
    (0..m.rows * rank).for_each(|k| thin.data[k] = q.get(k / rank, k % rank));
    let mut upper = Matrix::zeros(rank, m.columns);
    (0..rank).for_each(|i| (i..m.columns).for_each(|j| *upper.at(i, j) = r.get(i, j)));
    (thin, upper)
}

/// More sweeps than Jacobi's methods need for any matrix of f64.
const SWEEPS: usize = 60;

/// Ascending eigenvalues, and the vectors as columns, each with its largest entry positive; by Jacobi rotations.
pub fn eigh(m: &Matrix) -> (Vec<f64>, Matrix) {
    let n = m.rows;
    let mut d = m.clone();
    let mut v = Matrix::identity(n);
    for _ in 0..SWEEPS {
        let off: f64 = (0..n * n).filter(|k| k / n != k % n).map(|k| d.data[k].powi(2)).sum();
        let all: f64 = d.data.iter().map(|x| x * x).sum();
        if off <= 1e-32 * all {
            break;
        }
        for i in 0..n {
            for j in i + 1..n {
                if d.get(i, j) == 0.0 {
                    continue;
                }
                let (c, s) = rotation(d.get(i, i), d.get(j, j), d.get(i, j));
                for k in 0..n {
                    let (x, y) = (d.get(k, i), d.get(k, j));
                    (*d.at(k, i), *d.at(k, j)) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (d.get(i, k), d.get(j, k));
                    (*d.at(i, k), *d.at(j, k)) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (v.get(k, i), v.get(k, j));
                    (*v.at(k, i), *v.at(k, j)) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| d.get(*i, *i).total_cmp(&d.get(*j, *j)));
    let mut vectors = Matrix::zeros(n, n);
    for (to, from) in order.iter().enumerate() {
        let column = v.column(*from);
        let largest = column.iter().fold(0.0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
        (0..n).for_each(|i| *vectors.at(i, to) = column[i] * 1f64.copysign(largest));
    }
    (order.iter().map(|i| d.get(*i, *i)).collect(), vectors)
}

/// Cosine and sine of the rotation that makes the off-diagonal entry of a symmetric 2 by 2 matrix 0.
fn rotation(a: f64, b: f64, off: f64) -> (f64, f64) {
    let theta = (b - a) / (2.0 * off);
    let t = 1f64.copysign(theta) / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    (c, t * c)
}

/// u [rows, rank], s descending, v [columns, rank] with `m = u s v'`; by one-sided Jacobi rotations of the longer side's
/// columns.
pub fn svd(m: &Matrix) -> (Matrix, Vec<f64>, Matrix) {
    if m.rows < m.columns {
        let mut turned = Matrix::zeros(m.columns, m.rows);
        (0..m.rows * m.columns).for_each(|k| *turned.at(k % m.columns, k / m.columns) = m.data[k]);
        let (v, s, u) = svd(&turned);
        return (u, s, v);
    }
    let n = m.columns;
    let mut u = m.clone();
    let mut v = Matrix::identity(n);
    for _ in 0..SWEEPS {
        let mut turned = false;
        for i in 0..n {
            for j in i + 1..n {
                let (x, y) = (u.column(i), u.column(j));
                let off = dot(&x, &y);
                if off.abs() <= 1e-16 * (dot(&x, &x) * dot(&y, &y)).sqrt() {
                    continue;
                }
                turned = true;
                let (c, s) = rotation(dot(&x, &x), dot(&y, &y), off);
                for matrix in [&mut u, &mut v] {
                    for k in 0..matrix.rows {
                        let (x, y) = (matrix.get(k, i), matrix.get(k, j));
                        (*matrix.at(k, i), *matrix.at(k, j)) = (c * x - s * y, s * x + c * y);
                    }
                }
            }
        }
        if !turned {
            break;
        }
    }
    let norms: Vec<f64> = (0..n).map(|j| dot(&u.column(j), &u.column(j)).sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| norms[*j].total_cmp(&norms[*i]));
    let (mut left, mut right) = (Matrix::zeros(m.rows, n), Matrix::zeros(n, n));
    for (to, from) in order.iter().enumerate() {
        let scale = if norms[*from] > 0.0 { 1.0 / norms[*from] } else { 0.0 };
        (0..m.rows).for_each(|i| *left.at(i, to) = u.get(i, *from) * scale);
        (0..n).for_each(|i| *right.at(i, to) = v.get(i, *from));
    }
    (left, order.iter().map(|i| norms[*i]).collect(), right)
}
